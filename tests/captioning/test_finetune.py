"""A tiny BLIP is trained on a few captions: what is learnt, what is saved, what a stop changes."""

import json
import multiprocessing
import os
import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import transformers
from PIL import Image

from tests.captioning.tiny_models import build_tiny
from tests.processes import fork_child
from tpr.captioning.engines.transformers_loading import load_captioner
from tpr.captioning.finetune import FinetuneOptions, Finetuning
from tpr.captioning.finetune_pairs import (
    CaptionPairs,
    Collate,
    choose_images,
    iterate_batches,
    order_batches,
)
from tpr.captioning.listing import load_source
from tpr.cli import main
from tpr.data.tables.corpus import Corpus
from tpr.engine.checkpoint import write_checkpoint
from tpr.errors import DataError, UserError
from tpr.locks import hold_folder

OPTIONS = {"path": "mine/people.jsonl"}
SETTINGS = ["batch=4", "workers=0", "device=cpu", "lr=1e-3"]


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny("blip", tmp_path_factory.mktemp("models") / "blip")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight upright images of four colours with a caption each, and one without."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    lines = []
    (tmp_path / "data" / "mine").mkdir(parents=True)
    for number in range(8):
        name = f"{number}.png"
        shades = (200 * (number % 2), 200 * (number // 2 % 2), 60)
        Image.new("RGB", (16, 40), shades).save(tmp_path / "data" / "mine" / name)
        caption = f"word{number % 4} word{10 + number % 4} a red picture of word{20 + number % 4}"
        lines.append({"image": name, "identity": number, "captions": [caption], "split": "train"})
    Image.new("RGB", (16, 40)).save(tmp_path / "data" / "mine" / "8.png")
    lines.append({"image": "8.png", "identity": 9, "captions": [], "split": "train"})
    (tmp_path / "data" / "mine" / "people.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return tmp_path / "data"


def load(data: Path) -> Corpus:
    return load_source({"set": "jsonl", "split": "train", "options": OPTIONS}, data)


def train(data: Path, blip: Path, out: Path, *settings: str) -> int:
    words = ["--model", blip, "--root", data, "--options", "path=mine/people.jsonl", "--settings", *SETTINGS]
    return main(["caption", "finetune", "jsonl", str(out), *map(str, words), *settings])


@pytest.mark.slow
def test_a_captioner_learns_its_captions_and_plain_transformers_writes_them(
    tmp_path: Path, data: Path, blip: Path, capfd
) -> None:
    out = tmp_path / "trained"
    assert train(data, blip, out, "epochs=90", "lr=3e-3") == 0
    assert not list(tmp_path.glob("*.training"))
    record = json.loads((out / "finetune.json").read_text())
    assert record["steps"] == 180 and record["lr"] == 3e-3 and record["set"] == "mine"
    model = transformers.BlipForConditionalGeneration.from_pretrained(out).eval()
    processor = transformers.AutoProcessor.from_pretrained(out)
    for number in range(4):
        with Image.open(data / "mine" / f"{number}.png") as image:
            pixels = processor(images=image.convert("RGB"), return_tensors="pt")["pixel_values"]
        tokens = model.generate(pixel_values=pixels, max_length=30)[0, 1:]
        text = processor.decode(tokens, skip_special_tokens=True)
        # "red" is not among the tiny model's words.
        assert text == f"word{number} word{10 + number} a picture of word{20 + number}"
    assert train(data, blip, out) == 0
    assert "is finished" in capfd.readouterr().out


def test_a_second_training_of_the_same_folder_says_so(tmp_path: Path, data: Path, blip: Path, capfd) -> None:
    (tmp_path / "out.training").mkdir()
    with hold_folder(tmp_path / "out.training"):
        assert train(data, blip, tmp_path / "out") == 2
    assert "out.training: another process is at work there; wait for it" in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_training_that_was_killed_ends_with_the_same_weights(
    tmp_path: Path, data: Path, blip: Path
) -> None:
    settings = ("epochs=8", "save_every_steps=3")
    # Every part in a child, as the killed ones are: sums of one thread are not to the bit those of several.
    run_in_child(lambda: train(data, blip, tmp_path / "whole", *settings))
    draw, kills = random.Random(1), 0
    for _ in range(3):
        most = draw.randrange(4, 7)
        child = fork_child(lambda most=most: die_after(most, data, blip, tmp_path / "parts", *settings))
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
    assert kills == 3
    assert (tmp_path / "parts.training" / "last.pt").is_file()
    run_in_child(lambda: train(data, blip, tmp_path / "parts", *settings))
    found, wanted = (
        transformers.BlipForConditionalGeneration.from_pretrained(tmp_path / name).state_dict()
        for name in ("parts", "whole")
    )
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def run_in_child(work: Callable[[], int]) -> None:
    assert os.waitpid(fork_child(work), 0)[1] == 0


def die_after(most: int, *arguments: object) -> int:
    """Train, and be killed within the step after `most` others."""
    step = Finetuning._update

    def counted(self, batch):
        nonlocal most
        if most == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        most -= 1
        return step(self, batch)

    Finetuning._update = counted
    return train(*arguments)


def test_a_signal_keeps_the_step_under_way(
    tmp_path: Path, data: Path, blip: Path, monkeypatch, capfd
) -> None:
    step = Finetuning._update

    def signalled(self, batch):
        if self.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch)

    monkeypatch.setattr(Finetuning, "_update", signalled)
    with pytest.raises(SystemExit) as ended:
        train(data, blip, tmp_path / "out", "epochs=4")
    assert ended.value.code == 128 + signal.SIGTERM
    state = torch.load(tmp_path / "out.training" / "last.pt", weights_only=True)
    assert state["step"] == 3
    monkeypatch.setattr(Finetuning, "_update", step)
    assert train(data, blip, tmp_path / "out", "epochs=5") == 2
    assert "a training with other settings" in capfd.readouterr().err
    assert train(data, blip, tmp_path / "out", "epochs=4") == 0


def test_a_damaged_state_is_one_line(tmp_path: Path, data: Path, blip: Path, monkeypatch, capfd) -> None:
    def stop(self, step):
        save(self, step)
        raise UserError("stopped")

    save = Finetuning._save
    monkeypatch.setattr(Finetuning, "_save", stop)
    assert train(data, blip, tmp_path / "out", "epochs=2", "save_every_steps=2") == 2
    monkeypatch.setattr(Finetuning, "_save", save)
    path = tmp_path / "out.training" / "last.pt"
    state = torch.load(path, weights_only=True)
    name = next(iter(state["model"]))
    for change, problem in (
        ({"step": "2"}, "step of another type than expected"),
        ({"step": 99}, "it stands at step 99 of 4"),
        ({"loss": float("nan")}, "its loss is nan"),
        ({"model": {}}, "weights: it lacks "),
        ({"model": {**state["model"], name: torch.ones(1)}}, f"weights: '{name}' is [1] "),
        ({"optimizer": {}}, "optimizer: expected 1 groups of parameters"),
    ):
        write_checkpoint(path, state | change)
        capfd.readouterr()
        assert train(data, blip, tmp_path / "out", "epochs=2", "save_every_steps=2") == 2
        (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("tpr:"))
        assert line.startswith(f"tpr: {path}: not a state that this run can go on from: {problem}")
    path.write_bytes(path.read_bytes()[:1000])
    assert train(data, blip, tmp_path / "out", "epochs=2", "save_every_steps=2") == 2
    assert "remove it to start this training anew" in capfd.readouterr().err


def fail_in_a_worker(how: str) -> Callable[[CaptionPairs, int], object]:
    def fail(pairs: CaptionPairs, number: int) -> object:
        if how == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise DataError("7.png is no image") if how == "told" else ZeroDivisionError(number)

    return fail


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("killed", DataError, "a loader worker was lost .*Killed.* lower workers or batch, then start"),
        ("told", DataError, "^7.png is no image$"),
        ("unforeseen", RuntimeError, "an error in a loader worker\n\n.*ZeroDivisionError"),
    ],
)
def test_whatever_happens_to_a_worker_ends_the_training(
    data: Path, monkeypatch, how: str, kind: type[Exception], message: str
) -> None:
    pairs = CaptionPairs(load(data), removes_colours=False)
    monkeypatch.setattr(CaptionPairs, "__getitem__", fail_in_a_worker(how))
    with pytest.raises(kind, match=f"(?s){message}"):
        list(iterate_batches(pairs, iter([[0, 1], [2]]), make_entries, 1, torch.device("cpu")))
    assert not multiprocessing.active_children()


def test_workers_make_what_the_main_process_makes(data: Path) -> None:
    pairs = CaptionPairs(load(data), removes_colours=False)
    one, two = (
        list(iterate_batches(pairs, iter([[0, 1], [2]]), make_entries, workers, torch.device("cpu")))
        for workers in (0, 1)
    )
    assert all(torch.equal(a[name], b[name]) for a, b in zip(one, two, strict=True) for name in a)
    assert one[1]["pixel_values"].tolist() == [[[40.5]]] and one[0]["labels"].tolist() == [5, 5]


def make_entries(samples: list[tuple[Image.Image, str]]) -> dict[str, torch.Tensor]:
    heights = torch.tensor([[[image.height + 0.5]] for image, _ in samples])
    return {"pixel_values": heights, "labels": torch.tensor([len(text.split()) - 2 for _, text in samples])}


def test_a_gradient_that_is_not_finite_ends_the_training(
    tmp_path: Path, data: Path, blip: Path, monkeypatch, capfd
) -> None:
    clip = torch.nn.utils.clip_grad_norm_
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *words: clip(*words) * float("inf"))
    assert train(data, blip, tmp_path / "out") == 2
    assert "finetune: step 1 has the loss " in capfd.readouterr().err
    assert not (tmp_path / "out").exists()


def test_cameras_and_colours_are_chosen(data: Path) -> None:
    corpus = load(data)
    place = corpus.table.column_names.index("infrared")
    is_infrared = pa.array([number >= 4 for number in range(len(corpus))])
    corpus = replace(corpus, table=corpus.table.set_column(place, "infrared", is_infrared), files=())
    assert [len(choose_images(corpus, which)) for which in ("any", "only", "never")] == [8, 4, 4]
    pairs = CaptionPairs(choose_images(corpus, "only"), removes_colours=True)
    image, words = pairs[1]
    assert words == "word1 word11 a picture of word21"
    assert image.size == (16, 40) and image.getpixel((0, 0)) == (200, 0, 60)


def test_labels_end_where_the_caption_does(data: Path, blip: Path) -> None:
    processor = load_captioner(
        str(blip), revision=None, device="cpu", precision="float32", visual_tokens=(1, 1)
    ).processor
    image = Image.new("RGB", (16, 48), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 16, 4))
    batch = Collate(processor, 5, 6)([(image, "a picture"), (image, "a picture of word1 word2 word3 word4")])
    assert batch["pixel_values"].shape == (2, 3, 32, 32)
    assert batch["pixel_values"][0, :, 0].min() > batch["pixel_values"][0, :, 16].max(), "the head is there"
    assert batch["input_ids"][:, 0].tolist() == [5, 5]
    assert batch["labels"].tolist()[0] == [5, 6, 7, 3, -100, -100]
    assert batch["labels"][1].tolist() == batch["input_ids"][1].tolist() and batch["input_ids"][1, -1] == 3


def test_the_order_of_an_epoch_goes_on_anywhere() -> None:
    whole = list(order_batches(10, 3, seed=1, epochs=3, first=0))
    assert len(whole) == 9 and whole[:3] != whole[3:6] != whole[6:]
    assert all(len(set(sum(whole[start : start + 3], []))) == 9 for start in (0, 3, 6))
    for first in range(9):
        assert list(order_batches(10, 3, seed=1, epochs=3, first=first)) == whole[first:]
    assert list(order_batches(2, 8, seed=1, epochs=1, first=0))[0] in ([0, 1], [1, 0])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["epochs=0"], "epochs: expected int >= 1"),
        (["lr=-1"], "lr: expected float > 0"),
        (["longest=3"], "no such option"),
        (["infrared=maybe"], "any, only"),
        (["precision=fp8"], "float32"),
    ],
    ids=str,
)
def test_wrong_settings_are_named(
    tmp_path: Path, data: Path, blip: Path, settings: list[str], message: str, capfd
) -> None:
    assert train(data, blip, tmp_path / "out", *settings) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


def test_what_cannot_be_trained_is_one_line(tmp_path: Path, data: Path, blip: Path, capfd) -> None:
    llava = build_tiny("llava", tmp_path / "llava")
    assert train(data, llava, tmp_path / "out") == 2
    assert "is no BLIP" in capfd.readouterr().err
    (tmp_path / "taken").mkdir()
    assert train(data, blip, tmp_path / "taken") == 2
    assert "is there already" in capfd.readouterr().err
    shutil.copy(data / "mine" / "people.jsonl", data / "mine" / "7.png")
    assert train(data, blip, tmp_path / "out") == 2
    (line,) = (line for line in capfd.readouterr().err.splitlines() if line.startswith("tpr:"))
    assert "7.png is not an image" in line


def test_options_say_what_they_do() -> None:
    assert FinetuneOptions().longest_caption == 64 and FinetuneOptions().lr == 5e-5
