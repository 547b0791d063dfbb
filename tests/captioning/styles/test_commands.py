"""`tpr style` as a person types it, up to a HAM-PEDES in the styles of a small benchmark's annotators."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.captioning.plans import make_crops
from tests.captioning.styles.worlds import make_record, write_clip, write_world
from tests.captioning.tiny_models import build_tiny
from tests.data.small_sets import write_json
from tpr.captioning.plan import read_plan
from tpr.captioning.shards import read_parts
from tpr.cli import main
from tpr.locks import hold_folder

TRAIN = ("epochs=1", "batch=8", "tokens=2", "lr=0.01", "projector_lr=1e-3", "device=cpu")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TPR_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A small benchmark, a small CLIP and a tiny LLaVA."""
    folder = tmp_path_factory.mktemp("place")
    write_world(folder / "data")
    write_clip(folder / "clip.pt")
    build_tiny("llava", folder / "llava")
    write_json(folder / "bank" / "instructions.json", [make_record("a.jpg", "A man waits.", 0)])
    return folder


def type_words(*words: object) -> int:
    return main([str(word) for word in words])


def write_styles(place: Path, out: Path) -> None:
    """Features and a bank of five styles."""
    encoder = ("--encoder", f"weights={place / 'clip.pt'}", "device=cpu")
    sets = ("--sets", "cuhk_pedes", "--root", place / "data")
    assert type_words("style", "features", out / "features", *sets, *encoder) == 0
    assert (
        type_words("style", "cluster", out / "features", out / "bank", "kmeans=3", "ups=2", "ups_members=5")
        == 0
    )


def test_from_a_benchmark_to_a_corpus_in_its_styles(place: Path, tmp_path: Path, capfd) -> None:
    pytest.importorskip("peft")
    write_styles(place, tmp_path)
    shown = capfd.readouterr().out
    assert "24 captions rewritten (24 by words), 16 features each" in shown
    assert "5 styles (3 by kmeans, 2 by ups), 34 captions to learn from" in shown
    words = (f"model={place / 'llava'}", f"root={place / 'data'}", *TRAIN)
    assert type_words("style", "train", tmp_path / "bank", tmp_path / "run", *words) == 0
    assert "last.pt: 5 styles after 5 steps" in capfd.readouterr().out
    assert type_words("style", "export", tmp_path / "run" / "last.pt", tmp_path / "model") == 0
    assert "model: 5 styles of 2 tokens, numbers 112 to 121" in capfd.readouterr().out

    crops = make_crops(tmp_path / "crops" / "Part1", people=2, each=2)
    engine = ("--engine", "transformers", "--engine-options", f"model={tmp_path / 'model'}", "device=cpu")
    # A tiny model writes gibberish: the filters must not ask for English.
    filters = ("--filters", "min_words=1", "english=false", "full_stop=false", "duplicates=true")
    plan = tmp_path / "plan"
    captions = ("--captions", "styled=2", "--styles", 5)
    assert type_words("caption", "plan", crops.parent, plan, *captions, *engine, *filters) == 0
    assert type_words("caption", "run", plan) == 0
    assert type_words("caption", "verify", plan) == 0
    rows = read_parts(read_plan(plan), 0, ("file_path", "style", "model"))
    assert rows and {row["style"] for row in rows} <= set(range(5))
    assert {row["model"] for row in rows} == {str(tmp_path / "model")}
    data = tmp_path / "data"
    assert type_words("caption", "merge", plan, "--form", "ham_pedes", "--out", data / "HAM-PEDES") == 0
    written = json.loads((data / "HAM-PEDES" / "ham_pedes.json").read_text())
    assert sum(map(len, written.values())) == len(rows)


def test_a_plan_with_more_styles_than_the_model_stops_in_one_line(place: Path, tmp_path: Path, capfd) -> None:
    crops = make_crops(tmp_path / "crops", people=1, each=1)
    engine = ("--engine", "transformers", "--engine-options", f"model={place / 'llava'}", "device=cpu")
    captions = ("--captions", "styled=1", "--styles", 7)
    assert type_words("caption", "plan", crops, tmp_path / "plan", *captions, *engine) == 0
    assert type_words("caption", "run", tmp_path / "plan") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "has 0 styles, the plan draws number" in line and "`tpr style export`" in line


@pytest.mark.parametrize("engine", ["echo", "transformers"])
def test_what_a_language_model_says_amiss_word_lists_say(place: Path, tmp_path: Path, capfd, engine) -> None:
    words = ["--sets", "cuhk_pedes", "--root", place / "data", "--engine", engine]
    if engine == "transformers":
        model = build_tiny("llama", tmp_path / "llama")
        words += ["--engine-options", f"model={model}", "device=cpu", "max_new_tokens=8"]
    encoder = ("--encoder", f"weights={place / 'clip.pt'}", "device=cpu")
    assert type_words("style", "features", tmp_path / "features", *words, *encoder) == 0
    # Echo's sentences name colours, and a tiny model's are far too short: neither is believed.
    assert "24 captions rewritten (24 by words)" in capfd.readouterr().out
    kept = (tmp_path / "features" / "rewritten.jsonl").read_text().splitlines()
    texts = pq.read_table(tmp_path / "features" / "texts.parquet")
    assert len(kept) == len(set(texts.column("caption").to_pylist())) > 1


BAD_INPUT = [
    (["features", "{tmp}/f", "--sets", "nobody"], "'nobody' is not known; known: "),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--root", "{tmp}/gone"], "is no folder"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--encoder", "wights=a"], "no such option"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--engine", "orakel"], "'orakel' is not known"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--engine-options", "batch=3"], "needs --engine"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--root", "{place}/data", "--encoder", "weights=no"],
     "no such file"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "icfg_pedes", "--options", "a=1"], "a single dataset"),
    (["features", "{tmp}/f", "--sets", "cuhk_pedes", "--texts", "{tmp}"], "words.yaml: cannot be read"),
    (["train", "{place}/bank", "{tmp}/bad.json/r", "model=x", "root={place}"], "unlock the folder"),
    (["cluster", "{tmp}", "{tmp}/b"], "`tpr style features` makes it"),
    (["cluster", "{tmp}", "{tmp}/b", "kmeans=few"], "kmeans: expected"),
    (["train", "{tmp}", "{tmp}/r", "model=x"], "`tpr style cluster` writes instructions.json"),
    (["train", "{tmp}", "{tmp}/r"], "model: not given"),
    (["train", "{tmp}/bad.json", "{tmp}/r", "model=x"], "not JSON that can be read"),
    (["export", "{tmp}/none.pt", "{tmp}/m"], "none.pt: no such file"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "message"), BAD_INPUT, ids=lambda part: str(part)[:60])
def test_bad_input_is_one_line(place: Path, tmp_path: Path, capfd, words: list[str], message: str) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    (folder / "bad.json").write_text("{")
    assert type_words("style", *(word.format(tmp=folder, place=place) for word in words)) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line


@pytest.mark.parametrize("command", ["features", "train"])
def test_a_second_process_in_a_folder_says_so(place: Path, tmp_path: Path, capfd, command: str) -> None:
    words = {
        "features": ("--sets", "cuhk_pedes", "--root", place / "data"),
        "train": (f"model={place / 'llava'}", f"root={place / 'data'}"),
    }[command]
    source = (place / "bank",) if command == "train" else ()
    with hold_folder(tmp_path):
        assert type_words("style", command, *source, tmp_path, *words) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert f"{tmp_path}: another process is at work there; wait for it" in line


@pytest.mark.parametrize("command", ["features", "cluster", "train"])
def test_help_tells_every_option_with_its_sentence(command: str, capfd) -> None:
    with pytest.raises(SystemExit):
        type_words("style", command, "--help")
    shown = capfd.readouterr().out
    assert (
        "      " in shown
        and {"features": "weights=", "cluster": "ups_reach=7", "train": "lr=0.001"}[command] in shown
    )
