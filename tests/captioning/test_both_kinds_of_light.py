"""Text files of a visible-infrared set by captioning: a plan per kind of light, rephrased and merged."""

import shutil
from pathlib import Path

import pytest

from tpr.captioning.colours import find_colours
from tpr.cli import main
from tpr.config.schema import Choice, DataOptions
from tpr.data.adapters import ADAPTERS
from tpr.data.tables.corpora import load_split
from tpr.drawn import draw_world

FOLDERS = {"only": "Blip_IR", "never": "Blip_RGB"}


def type_words(*words: object) -> None:
    assert main(["caption", *map(str, words)]) == 0


def write_texts(root: Path, folder: Path, infrared: str) -> Path:
    """Captions of one kind of light and their rephrasings, as files of TVI-LFM."""
    plan, again, out = (folder / f"{infrared}{suffix}" for suffix in ("", "_again", "_out"))
    colours = "remove" if infrared == "only" else "keep"
    which = ["--root", root, "--split", "all", "--infrared", infrared, "--filters", f"colours={colours}"]
    type_words("plan", "regdb", plan, *which, "--captions", "static=1")
    type_words("run", plan)
    type_words("plan", plan, again, "--rephrase", "--filters", f"colours={colours}")
    type_words("run", again)
    form = ["--form", "tvi_lfm", "--labels", FOLDERS[infrared], "--prefix", "datasets/"]
    for number, merged in enumerate((plan, again)):
        type_words("merge", merged, "--out", out / str(number), *form)
    return out


def test_captions_of_both_kinds_are_read_as_published_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = tmp_path / "data"
    draw_world(root, sets=["regdb"], identities=3, workers=1)
    shutil.rmtree(root / "RegDB" / "Text")
    outs = {infrared: write_texts(root, tmp_path, infrared) for infrared in FOLDERS}
    texts = root / "RegDB" / "Text"
    for infrared, out in outs.items():
        name = FOLDERS[infrared]
        for number in range(2):
            shutil.copytree(out / str(number) / name, texts / name, dirs_exist_ok=True)
    data, choice = DataOptions(root=root), Choice("regdb", ADAPTERS["regdb"].Options())
    for split, captions in (("train", 2), ("test", 1)):
        corpus = load_split(choice, split, data)
        assert len(corpus) >= 20 and corpus.infrared().sum() * 2 == len(corpus)
        for row, is_infrared in enumerate(corpus.infrared()):
            found = corpus.captions(row)
            assert len(found) == captions
            assert not is_infrared or not any(map(find_colours, found))
