"""Mistakes as a person meets them: `tpr` ends with code 2 and one line, and leaves nothing half-written.

What single parts say is tested beside them; here it is what arrives on the screen.
"""

import errno
import io
import json
import os
import pickle
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.conftest import TINY_CLIP
from tests.cli.screen import ROOT, Outcome, Type
from tests.data.small_sets import cuhk_record, write_cuhk, write_image, write_json
from tpr.locks import hold_folder

CONFIG = ROOT / "configs" / "irra" / "cuhk_pedes.yaml"
SIXTEEN = [
    cuhk_record("train", number // 2, f"cam_a/{number}.jpg", f"person {number}", "in red")
    for number in range(16)
]
FOUR = [
    cuhk_record("test", 90 + number // 2, f"cam_b/{number}.jpg", f"someone {number}") for number in range(4)
]
TRAIN_IMAGES = 16


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A CUHK-PEDES of 16 training and 4 test images that a test may spoil."""
    write_cuhk(tmp_path / "data", [*SIXTEEN, *FOUR])
    return tmp_path / "data"


@pytest.fixture
def train(root: Path, tmp_path: Path, type_command: Type) -> Type:
    """`tpr train configs/irra/cuhk_pedes.yaml ...` with a tiny model, for one step of eight pairs."""

    def run(*words: object, config: object = CONFIG) -> Outcome:
        return type_command(
            "train", config, TINY_CLIP, "model.weights=null", f"data.root={root}", "data.image_size=[64,32]",
            "data.batch=8", "runtime.workers=0", "runtime.max_steps=1", f"runtime.output={tmp_path / 'runs'}",
            "report.tensorboard=false", "report.ranking_queries=0", *words,
        )  # fmt: skip

    return run


def image(root: Path, number: int = 0) -> Path:
    """The file of a training image."""
    return root / "CUHK-PEDES" / "imgs" / "cam_a" / f"{number}.jpg"


def annotation(root: Path) -> Path:
    return root / "CUHK-PEDES" / "reid_raw.json"


def list_leftovers(folder: Path) -> list[str]:
    """Everything that a run wrote."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) if folder.exists() else []


# Options and configs.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["optim.ler=1"], "tpr: optim.ler: no such option in Optim (did you mean 'lr'?)"),
        (["optm.lr=1"], "tpr: optm: no such option"),
        (["optim.lr=fast"], "tpr: optim.lr: expected float, got 'fast'"),
        (["data.batch=2.5"], "tpr: data.batch: expected int, got 2.5"),
        (["runtime.workers=true"], "tpr: runtime.workers: expected int, got True"),
        (["data.image_size=384"], "tpr: data.image_size: expected"),
        (["system=ira"], "tpr: system.name: 'ira' is not known (did you mean 'irra'?)"),
        (["data.test=[cuhk]"], "tpr: data.test[0].name: 'cuhk' is not known"),
        (["optim.lr"], "tpr: command line: expected key=value, got 'optim.lr'"),
        (["optim.lr=[1"], "tpr: command line: optim.lr=[1"),
        ([f"evaluation.batch={2**70}"], "tpr: evaluation.batch: expected int in (-2^31, 2^31), got 1180"),
        ([f"schedule.epochs={10**400}"], "tpr: schedule.epochs: expected int in [1, 1000000], got 1000"),
        (["optim.lr=" + "9" * 5000], "tpr: command line: optim.lr=999"),
        (["optim.lr=!!timestamp x"], "tpr: command line: optim.lr=!!timestamp x: values of the kind"),
        (["model=" + "{a: " * 400 + "}" * 400], "tpr: command line: model={a: "),
        (["data.text_length=1000000000"], "tpr: data.text_length: expected int in [3, 1024], got 1000000000"),
        (["data.image_size=[1000000,64]"], "tpr: data.image_size[0]: expected int in [1, 4096], got 1000000"),
        (["runtime.output=" + "x" * 5000], "tpr: runtime.output: expected a path of at most 4095 bytes"),
        (["name=" + "x" * 300], "tpr: name must have at most 200 bytes"),
        (["schedule.epochs=3"], "tpr: schedule.warmup_epochs=5 leaves no epoch of schedule.epochs=3"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_mistaken_option_is_one_line_and_nothing_is_written(
    words: list[str], message: str, train: Type, tmp_path: Path
) -> None:
    assert train(*words).message.startswith(message)
    assert list_leftovers(tmp_path / "runs") == []


def test_a_mistaken_config_file_is_one_line(type_command: Type, tmp_path: Path) -> None:
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text("base: two.yaml\n")
    two.write_text("base: one.yaml\n")
    circle = "base files form a circle: one.yaml -> two.yaml -> one.yaml"
    assert type_command("train", one).message == f"tpr: {circle}"
    assert type_command("show", one).message == f"tpr: {circle}"
    one.write_text("system: irra\noptim: {lr: 1}\noptim: {lr: 2}\n")
    assert "one.yaml:3" in type_command("train", one).message
    one.write_bytes(b"\xff\xfe\x00")
    assert "one.yaml: not a text file in UTF-8" in type_command("train", one).message
    missing = type_command("train", ROOT / "configs/irra/cuhk_peds.yaml").message
    assert "cuhk_peds.yaml: no such config file (did you mean 'cuhk_pedes.yaml'?)" in missing
    assert "no CONFIG given; name one of" in type_command("train").message


def test_the_home_folder_may_be_written_as_its_sign(
    type_command: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    drawn = type_command("draw", "~/x", "--identities", 2, "--sets", "rstpreid", "--workers", 1)
    assert drawn.code == 0, drawn.err
    assert (home / "x" / "RSTPReid").is_dir()
    assert "home/here.yaml: no such config file" in type_command("show", "~/here.yaml").message
    assert f"{home}/a.pt" in type_command("evaluate", "~/a.pt").message
    assert f"{home}/runs" in type_command("report", "~/runs").message
    assert f"{home}/a.pt" in type_command("train", "--finetune", "~/a.pt").message
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("~")] == []


def test_a_number_of_a_command_has_its_range(type_command: Type, tmp_path: Path) -> None:
    for word, problem in [("1", "in [2, 1000000], got '1'"), ("9" * 5000, ", got '999"), ("x", ", got 'x'")]:
        message = type_command("draw", tmp_path / "x", "--identities", word).message
        assert message.startswith("tpr: argument --identities: expected int") and problem in message
    assert "argument --workers: expected int" in type_command("draw", tmp_path, "--workers", 10**9).message
    assert list_leftovers(tmp_path / "x") == []


# Folders and annotation files.


def remove_root(root: Path) -> None:
    shutil.rmtree(root)


def remove_set(root: Path) -> None:
    shutil.rmtree(root / "CUHK-PEDES")


def remove_annotation(root: Path) -> None:
    annotation(root).unlink()


def remove_key(root: Path) -> None:
    records = [dict(record) for record in SIXTEEN]
    del records[3]["captions"]
    write_json(annotation(root), records)


def leave_root(root: Path) -> None:
    write_json(annotation(root), [*SIXTEEN, cuhk_record("train", 3, "../../../etc/passwd", "a man")])


def write_nonsense(root: Path) -> None:
    annotation(root).write_text('[{"split": "train", ')


def write_nothing(root: Path) -> None:
    annotation(root).write_text("")


def write_no_records(root: Path) -> None:
    annotation(root).write_text("[]")


def write_other_set(root: Path) -> None:
    write_json(annotation(root), {"0001.jpg": ["a man"], "0002.jpg": ["a woman"]})


def write_rstpreid(root: Path) -> None:
    write_json(annotation(root), [{"id": 1, "img_path": "a.jpg", "captions": ["x"], "split": "train"}])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (remove_root, "data.root='{root}' is no folder; set data.root or the environment variable TPR_DATA"),
        (remove_set, "{root}/CUHK-PEDES not found. Expected: "),
        (remove_annotation, "{root}/CUHK-PEDES/reid_raw.json not found. Expected: "),
        (remove_key, "reid_raw.json: record 3: found the keys "),
        (leave_root, "record 16: the image path '../../../etc/passwd' is empty or leaves"),
        (write_nonsense, "reid_raw.json: not JSON ("),
        (write_nothing, "reid_raw.json: the file is empty; fetch it again"),
        (write_no_records, "reid_raw.json: the list is empty; expected objects with "),
        (write_other_set, "reid_raw.json: found an object with the keys 0001.jpg, 0002.jpg; expected a list"),
        (write_rstpreid, "reid_raw.json: record 0: found the keys id, img_path, captions, split; expected"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_data_that_are_not_as_published_are_one_line_and_nothing_is_written(
    spoil: Callable[[Path], None], message: str, root: Path, train: Type, tmp_path: Path
) -> None:
    spoil(root)
    found = train().message
    assert found.startswith("tpr: data.train[0] 'cuhk_pedes': ")
    assert message.format(root=root) in found
    assert list_leftovers(tmp_path / "runs") == []


def test_a_failed_start_leaves_the_name_of_the_run_free(root: Path, train: Type, tmp_path: Path) -> None:
    assert train("data.root=/nonexistent").code == 2
    assert train().code == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["irra-cuhk_pedes"]


def test_a_test_set_is_named_as_such(train: Type) -> None:
    assert train("data.test=[rstpreid]").message.startswith("tpr: data.test[0] 'rstpreid': ")


# Images.


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    Image.fromarray(np.random.RandomState(0).randint(0, 255, (64, 32, 3), np.uint8)).save(path, "JPEG")
    path.write_bytes(path.read_bytes()[:900])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def write_text(path: Path) -> None:
    path.write_text("this is no image at all")


@cache
def encode_bomb() -> bytes:
    """An image of 81 million pixels in a few kilobytes."""
    data = io.BytesIO()
    Image.new("1", (9000, 9000)).save(data, "PNG")
    return data.getvalue()


def write_bomb(path: Path) -> None:
    path.write_bytes(encode_bomb())


SPOILT = pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (remove, "cannot be read (No such file or directory)"),
        (truncate, ""),
        (empty, "is empty (0 bytes)"),
        (write_text, "is not an image"),
        (write_bomb, "has 9000 x 9000 = 81,000,000 pixels, more than data.max_image_pixels=50,000,000"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)


@SPOILT
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_spoilt_image_stops_the_run_with_its_name(
    spoil: Callable[[Path], None], problem: str, workers: int, root: Path, train: Type
) -> None:
    for number in range(TRAIN_IMAGES):
        spoil(image(root, number))
    message = train(f"runtime.workers={workers}").message
    assert "CUHK-PEDES/imgs/cam_a/" in message
    assert ".jpg" in message
    assert problem in message


@pytest.mark.slow
@SPOILT
def test_a_spoilt_image_is_skipped_and_counted_where_asked(
    spoil: Callable[[Path], None], problem: str, root: Path, train: Type
) -> None:
    spoil(image(root, 5))
    outcome = train("data.on_bad_image=skip", "runtime.max_steps=4")
    assert outcome.code == 0
    assert "cam_a/5.jpg" in outcome.err
    assert problem in outcome.err
    assert "a neighbour takes its place" in outcome.err
    # Four steps of eight pairs show each of the 16 images with each of its two captions once.
    assert "2 unreadable images were replaced by neighbours" in outcome.err


def test_a_spoilt_test_image_stops_even_where_training_skips(root: Path, train: Type) -> None:
    empty(root / "CUHK-PEDES/imgs/cam_b/1.jpg")
    message = train("data.on_bad_image=skip").message
    assert "CUHK-PEDES/imgs/cam_b/1.jpg is empty (0 bytes)" in message


def test_rare_kinds_of_images_train(root: Path, train: Type) -> None:
    noise = np.random.RandomState(1)
    Image.new("CMYK", (20, 40), (10, 200, 30, 0)).save(image(root, 0), "JPEG")
    deep = noise.randint(0, 65535, (40, 20)).astype(np.uint16)
    Image.fromarray(deep).save(image(root, 1), "PNG")
    Image.fromarray(noise.randint(0, 255, (40, 20), np.uint8)).convert("P").save(image(root, 2), "GIF")
    frames = [Image.new("RGB", (20, 40), (shade, 0, 0)) for shade in (10, 90, 200)]
    frames[0].save(image(root, 3), "GIF", save_all=True, append_images=frames[1:])
    frames[0].save(image(root, 4), "WEBP", save_all=True, append_images=frames[1:])
    Image.new("RGB", (1, 1), (200, 10, 10)).save(image(root, 5), "JPEG")
    Image.new("RGBA", (20, 40), (200, 10, 10, 128)).save(image(root, 6), "PNG")
    Image.new("L", (20, 40), 77).save(image(root, 7), "JPEG")
    Image.new("1", (20, 40)).save(image(root, 8), "PNG")
    Image.new("RGB", (1, 400), (0, 10, 10)).save(image(root, 9), "BMP")
    outcome = train("runtime.max_steps=4")
    assert (outcome.code, outcome.err) == (0, "")


# Captions and corpora.


@pytest.mark.slow
@pytest.mark.parametrize(
    "caption",
    [
        "",
        "a man in red " * 2500,
        "tabs\tand\x00control\x07characters\u202e\ud83d\ude00".encode("utf-8", "replace").decode(),
        "<|startoftext|> a man <|endoftext|> jekyll <|mask|>",
    ],
    ids=["empty", "ten thousand words", "control characters", "special tokens"],
)
def test_odd_captions_train(caption: str, root: Path, train: Type) -> None:
    records = [record | {"captions": [caption, "a man"]} for record in SIXTEEN]
    write_json(annotation(root), [*records, *FOUR])
    outcome = train("runtime.max_steps=4")
    assert outcome.code == 0
    assert ("captions are empty" in outcome.err) == (caption == "")
    losses = [json.loads(line) for line in read_journal(root).splitlines()]
    assert all(np.isfinite(event["loss"]) for event in losses if "loss" in event)


def read_journal(root: Path) -> str:
    return (root.parent / "runs" / "irra-cuhk_pedes" / "journal.jsonl").read_text()


def test_a_batch_larger_than_the_corpus_is_named_with_both_sizes(train: Type, tmp_path: Path) -> None:
    message = train("data.batch=64").message
    assert "64" in message and "32" in message and "data.batch" in message
    assert list_leftovers(tmp_path / "runs") == []


def test_a_test_set_without_matches_is_named(root: Path, train: Type) -> None:
    records = [
        cuhk_record("test", 90, "cam_b/0.jpg", "someone"),
        cuhk_record("test", 91, "cam_b/1.jpg"),
    ]
    write_json(annotation(root), [*SIXTEEN, *records])
    outcome = train()
    assert outcome.code == 0, outcome.err
    for record in records:
        record["captions"] = []
    write_json(annotation(root), [*SIXTEEN, *records])
    assert "data.test[0] 'cuhk_pedes'" in train("seed=2").message


def test_an_identity_loss_without_identities_names_loss_and_set(
    world: Path, train: Type, tmp_path: Path
) -> None:
    message = train("data.train=[luperson_mllm]", f"data.root={world}").message
    assert "loss over identities, but luperson_mllm has no person labels" in message
    assert "system.losses.id=0" in message
    assert list_leftovers(tmp_path / "runs") == []


def test_a_run_whose_losses_are_not_finite_stops_and_names_step_losses_and_samples(
    train: Type, tmp_path: Path
) -> None:
    outcome = train("optim.lr=1e30", "optim.eps=1e-8", "runtime.max_steps=12", "schedule.warmup_epochs=0")
    message = outcome.message
    assert "losses or gradients were not finite for 3 steps in a row" in message
    assert "samples " in message and "lower optim.lr" in message and "nothing was saved yet" in message
    assert (tmp_path / "runs" / "irra-cuhk_pedes" / "config.yaml").exists()


# Run folders.


def test_a_file_in_place_of_the_output_folder_is_one_line(train: Type, tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("not a folder")
    message = train().message
    assert "the run folder cannot be written" in message and "runtime.output=FOLDER" in message
    assert (tmp_path / "runs").read_text() == "not a folder"


def test_a_run_that_another_process_works_on_is_one_line(train: Type, tmp_path: Path) -> None:
    assert train("runtime.max_steps=1").code == 0
    folder = tmp_path / "runs" / "irra-cuhk_pedes"
    before = (folder / "last.pt").read_bytes()
    with hold_folder(folder):
        message = train("runtime.max_steps=2").message
    assert message.startswith(f"tpr: {folder}: another process is at work there; wait for it")
    assert (folder / "last.pt").read_bytes() == before


@pytest.mark.slow
def test_a_best_checkpoint_in_place_of_the_last_is_one_line(train: Type, tmp_path: Path) -> None:
    assert train("runtime.max_steps=1").code == 0
    folder = tmp_path / "runs" / "irra-cuhk_pedes"
    (folder / "last.pt").write_bytes((folder / "best.pt").read_bytes())
    assert (
        "it holds no optimizer and no tables, as a best.pt does not" in train("runtime.max_steps=2").message
    )


def test_a_start_says_what_is_minimised_and_a_journal_of_nothing_saved_begins_anew(
    root: Path, train: Type, tmp_path: Path
) -> None:
    outcome = train("runtime.max_steps=2", "runtime.log_every_steps=1", "system.losses={sdm: 2, mlm: 0}")
    assert "\nminimises 2 x sdm + 1 x id\n" in outcome.out
    assert re.search(r"loss \d+\.\d{4} = sdm \d+\.\d{3} \+ id \d+\.\d{3}  ", outcome.out)
    once = [json.loads(line) | {"time": 0} for line in read_journal(root).splitlines()]
    for path in (tmp_path / "runs" / "irra-cuhk_pedes").glob("*.pt"):
        path.unlink()
    assert (
        train("runtime.max_steps=2", "runtime.log_every_steps=1", "system.losses={sdm: 2, mlm: 0}").code == 0
    )
    again = [json.loads(line) | {"time": 0} for line in read_journal(root).splitlines()]
    for event in (*once, *again):
        event.pop("pairs_per_second", None)
    assert again == once


def test_a_read_only_run_folder_is_one_line(train: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    # The tests may run as root, whom permissions do not stop.
    monkeypatch.setattr(Path, "mkdir", refuse)
    message = train().message
    assert "the run folder cannot be written (Read-only file system)" in message


@pytest.mark.slow
def test_a_full_disk_stops_the_run_and_keeps_what_was_written_before(
    train: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train().code == 0
    folder = tmp_path / "runs" / "irra-cuhk_pedes"
    before = (folder / "last.pt").read_bytes()

    def fill_disk(state: Any, file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", fill_disk)
    message = train("runtime.max_steps=2").message
    assert "the checkpoint could not be written (No space left on device)" in message
    assert "the one written before is kept" in message
    assert (folder / "last.pt").read_bytes() == before
    assert not list(folder.glob("*.partial"))


# Checkpoints.


class Payload:
    """Pickled code that would leave a file behind if it were run."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.victim),))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The best.pt of a run of one step."""
    from tpr.cli import main

    folder = tmp_path_factory.mktemp("checkpoint")
    write_cuhk(folder / "data", [*SIXTEEN, *FOUR])
    words = [
        "train", str(CONFIG), TINY_CLIP, "model.weights=null", f"data.root={folder / 'data'}",
        "data.image_size=[64,32]", "data.batch=8", "runtime.workers=0", "runtime.max_steps=1",
        f"runtime.output={folder / 'runs'}", "report.tensorboard=false", "report.ranking_queries=0",
        f"data.cache={folder / 'cache'}",
    ]  # fmt: skip
    assert main(words) == 0
    return (folder / "runs" / "irra-cuhk_pedes" / "best.pt").read_bytes()


def write_missing(path: Path, _: bytes) -> None:
    pass


def write_truncated(path: Path, good: bytes) -> None:
    path.write_bytes(good[: len(good) // 2])


def write_flipped(path: Path, good: bytes) -> None:
    spoilt = bytearray(good)
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)


def write_pickled_code(path: Path, _: bytes) -> None:
    torch.save({"format": "tpr", "model": Payload(path.with_name("was_run"))}, path)


def write_plain_pickle(path: Path, _: bytes) -> None:
    path.write_bytes(pickle.dumps(Payload(path.with_name("was_run")), protocol=2))


def write_other_program(path: Path, _: bytes) -> None:
    torch.save({"model": {"backbone.conv1.weight": torch.zeros(64, 3, 7, 7)}}, path)


def write_other_config(path: Path, good: bytes) -> None:
    state = read(good, path)
    state["config"]["system"] = {"name": "unheard_of"}
    torch.save(state, path)


def write_no_weights(path: Path, _: bytes) -> None:
    torch.save({"epoch": 3}, path)


def read(good: bytes, path: Path) -> dict[str, Any]:
    path.write_bytes(good)
    state: dict[str, Any] = torch.load(path, weights_only=True)
    return state


BAD_CHECKPOINTS = [
    (write_missing, "no such file"),
    (write_truncated, "truncated or damaged ("),
    (write_flipped, "truncated or damaged ("),
    (write_pickled_code, "refused: it holds pickled code (posix.mkdir), which was not run"),
    (write_plain_pickle, "refused: it holds "),
    (write_no_weights, "holds no weights by name, nor do two keys within it; found epoch"),
]


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        *BAD_CHECKPOINTS,
        (write_other_program, ""),
        (write_other_config, "its configuration is not for this version (system.name: 'unheard_of'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("command", ["evaluate", "convert"])
def test_a_spoilt_checkpoint_is_one_line_and_never_run(
    command: str,
    spoil: Callable[[Path, bytes], None],
    problem: str,
    checkpoint: bytes,
    root: Path,
    type_command: Type,
    tmp_path: Path,
) -> None:
    path = tmp_path / "bad.pt"
    spoil(path, checkpoint)
    words = [f"data.root={root}", "data.test=[cuhk_pedes]"] if command == "evaluate" else []
    message = type_command(command, path, *words).message
    assert message.startswith(f"tpr: {path}: ")
    assert problem in message
    assert not (tmp_path / "was_run").exists()
    assert not (tmp_path / "bad.tpr.pt").exists()


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [*BAD_CHECKPOINTS, (write_other_program, "only 0 of 9,408 values fit (0.0%, expected at least 90%)")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_fine_tuning_from_a_spoilt_checkpoint_is_one_line_and_never_run(
    spoil: Callable[[Path, bytes], None], problem: str, checkpoint: bytes, train: Type, tmp_path: Path
) -> None:
    path = tmp_path / "bad.pt"
    spoil(path, checkpoint)
    message = train("--finetune", path).message
    assert message.startswith(f"tpr: {path}: ")
    assert problem in message
    assert not (tmp_path / "was_run").exists()
    assert list_leftovers(tmp_path / "runs") == []


def test_fine_tuning_from_other_sizes_is_refused_with_the_share(
    checkpoint: bytes, train: Type, tmp_path: Path
) -> None:
    (tmp_path / "wide.pt").write_bytes(checkpoint)
    words = TINY_CLIP.replace("16", "24").replace("32", "48")
    message = train(words, "--finetune", tmp_path / "wide.pt").message
    assert "values fit (" in message and "expected at least 90%" in message
    assert message.count("\n") == 0


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        pytest.param(write_truncated, "truncated or damaged (", marks=pytest.mark.slow),
        (write_flipped, "truncated or damaged ("),
        (write_pickled_code, "refused: it holds pickled code (posix.mkdir), which was not run"),
        pytest.param(write_other_program, "not a checkpoint of this framework", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_spoilt_last_checkpoint_stops_the_resumed_run_in_one_line(
    spoil: Callable[[Path, bytes], None], problem: str, checkpoint: bytes, train: Type, tmp_path: Path
) -> None:
    assert train().code == 0
    last = tmp_path / "runs" / "irra-cuhk_pedes" / "last.pt"
    spoil(last, checkpoint)
    spoilt = last.read_bytes()
    message = train("runtime.max_steps=2").message
    assert message.startswith(f"tpr: {last}: {problem}")
    assert not last.with_name("was_run").exists()
    assert last.read_bytes() == spoilt


def test_an_image_named_as_a_checkpoint_is_no_checkpoint(type_command: Type, tmp_path: Path) -> None:
    path = write_image(tmp_path / "photo.jpg")
    assert "photo.jpg: not a checkpoint (it starts with" in type_command("evaluate", path).message


def test_convert_never_overwrites(checkpoint: bytes, type_command: Type, tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(checkpoint)
    (tmp_path / "best.tpr.pt").write_text("precious")
    assert "is there already" in type_command("convert", tmp_path / "best.pt").message
    assert (tmp_path / "best.tpr.pt").read_text() == "precious"
