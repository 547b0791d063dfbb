import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.data.small_sets import choose, list_rows, load, write_cuhk
from tests.processes import LAST_RESORT, Processes
from tpr.config.schema import DataOptions
from tpr.data import cache as cache_module
from tpr.data.adapters.cuhk_pedes import CuhkPedes
from tpr.data.cache import default_cache
from tpr.data.corpora import load_split
from tpr.data.corpus import Corpus
from tpr.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with CUHK-PEDES."""
    write_cuhk(tmp_path / "data")
    return tmp_path / "data"


def list_entries(root: Path) -> list[Path]:
    """Entry folders of the cache beside this root."""
    return sorted((root.parent / "data-cache" / "corpora").iterdir())


def refuse_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("parsed again")

    monkeypatch.setattr(CuhkPedes, "parse", fail)


def test_the_second_opening_does_not_parse(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load(root, "cuhk_pedes")
    refuse_parsing(monkeypatch)
    second = load(root, "cuhk_pedes")
    assert list_rows(first) == list_rows(second)
    assert first.fingerprint == second.fingerprint
    assert len(load(root, "cuhk_pedes", "test")) == 1


def test_an_entry_leaves_nothing_else_behind(root: Path) -> None:
    load(root, "cuhk_pedes")
    (entry,) = list_entries(root)
    arrays = [f"{split}.{kind}.npy" for split in ("test", "train", "val") for kind in ("identity", "offsets")]
    arrow = [f"{split}-00000.arrow" for split in ("test", "train", "val")]
    assert sorted(path.name for path in entry.iterdir()) == sorted([*arrays, *arrow, "manifest.json"])


def test_a_changed_annotation_is_parsed_again(root: Path) -> None:
    before = load(root, "cuhk_pedes")
    path = root / "CUHK-PEDES" / "reid_raw.json"
    records = json.loads(path.read_text())
    records[0]["captions"] = ["another man"]
    path.write_text(json.dumps(records))
    after = load(root, "cuhk_pedes")
    assert after.captions(0) == ["another man"]
    assert before.fingerprint != after.fingerprint
    assert before.captions(0) == ["a man", "he walks"], "a corpus in use keeps its rows"


@pytest.mark.parametrize("change", ["time", "version", "folder"])
def test_whatever_parsing_depends_on_keys_the_entry(
    root: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    load(root, "cuhk_pedes")
    path = root / "CUHK-PEDES" / "reid_raw.json"
    if change == "time":
        os.utime(path, ns=(1, 1))
    elif change == "version":
        monkeypatch.setattr(CuhkPedes, "version", 2)
    else:
        (root / "CUHK-PEDES").rename(root / "CUHK_PEDES")
    load(root, "cuhk_pedes")
    assert len(list_entries(root)) == 2


@pytest.mark.parametrize("damage", ["arrow", "array", "manifest", "missing"])
def test_a_damaged_entry_is_made_again(root: Path, caplog: pytest.LogCaptureFixture, damage: str) -> None:
    expected = list_rows(load(root, "cuhk_pedes"))
    (entry,) = list_entries(root)
    names = {"arrow": "train-00000.arrow", "array": "train.offsets.npy", "manifest": "manifest.json"}
    if damage == "missing":
        (entry / "train.identity.npy").unlink()
    else:
        path = entry / names[damage]
        path.write_bytes(path.read_bytes()[:-20])
    assert list_rows(load(root, "cuhk_pedes")) == expected
    assert "cached tables are damaged and are made again" in caplog.text


def test_a_manifest_may_not_lead_out_of_its_folder(root: Path) -> None:
    load(root, "cuhk_pedes")
    (entry,) = list_entries(root)
    path = entry / "manifest.json"
    path.write_text(path.read_text().replace("train-00000.arrow", "../train-00000.arrow"))
    with pytest.raises(DataError, match="a file name leads out of the folder"):
        cache_module.load_manifest(entry)


def test_a_folder_that_cannot_be_written_is_named_with_the_option(root: Path) -> None:
    blocked = root.parent / "file"
    blocked.write_text("")
    with pytest.raises(DataError) as caught:
        load_split(choose("cuhk_pedes"), "train", DataOptions(root=root, cache=blocked / "cache"))
    assert str(caught.value) == (
        f"'cuhk_pedes': the cache folder {blocked}/cache cannot be written (Not a directory); "
        "set data.cache to a folder with space that you may write"
    )


def test_a_full_disk_is_named_with_the_option_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tpr.data.columns.sync", fail)
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); set data.cache"):
        load(root, "cuhk_pedes")
    assert list_entries(root) == []


def test_a_parsing_error_leaves_nothing(root: Path) -> None:
    (root / "CUHK-PEDES" / "reid_raw.json").write_text("[{}]")
    with pytest.raises(DataError, match="record 0: found the keys none"):
        load(root, "cuhk_pedes")
    assert list_entries(root) == []


def test_leftovers_of_killed_processes_are_removed_after_a_day(root: Path) -> None:
    load(root, "cuhk_pedes")
    (entry,) = list_entries(root)
    old, new = (entry.with_name(f".{entry.name}-{name}") for name in ("old", "new"))
    old.mkdir()
    new.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    shutil.rmtree(entry)
    load(root, "cuhk_pedes")
    assert list_entries(root) == [new, entry]


def test_of_several_starts_at_once_one_parses_and_the_others_wait(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = []
    parse = CuhkPedes.parse

    def count(adapter: CuhkPedes, root: Path) -> object:
        parsed.append(adapter)
        time.sleep(0.2)
        return parse(adapter, root)

    monkeypatch.setattr(CuhkPedes, "parse", count)
    with ThreadPoolExecutor(4) as pool:
        corpora = list(pool.map(lambda _: load(root, "cuhk_pedes"), range(4)))
    assert len(parsed) == 1
    assert [corpus.captions(1) for corpus in corpora] == [["a woman", "she runs"]] * 4


@pytest.mark.slow
def test_processes_that_start_at_once_build_one_entry(root: Path, processes: Processes) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.data.small_sets import load;"
        "print(load(Path(sys.argv[1]), 'cuhk_pedes').captions(1))"
    )
    command = [sys.executable, "-c", code, str(root)]
    running = [processes.start(command, stdout=subprocess.PIPE) for _ in range(2)]
    assert [process.communicate(timeout=LAST_RESORT)[0] for process in running] == [
        "['a woman', 'she runs']\n"
    ] * 2
    assert len(list_entries(root)) == 1


def test_without_a_lock_the_first_entry_wins(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(root, "cuhk_pedes")
    (entry,) = list_entries(root)
    written = (entry / "manifest.json").stat().st_ino
    monkeypatch.setattr(cache_module, "_load_whole", lambda folder: None)
    corpus: Corpus = load(root, "cuhk_pedes")
    assert len(corpus) == 3
    assert (entry / "manifest.json").stat().st_ino == written
    assert list_entries(root) == [entry]


def test_the_default_folder_follows_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache() == Path("/somewhere/tpr")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "tpr"


def test_empty_captions_are_announced(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "CUHK-PEDES" / "reid_raw.json"
    path.write_text(path.read_text().replace("she runs", "  "))
    corpus = load(root, "cuhk_pedes")
    assert corpus.captions(1) == ["a woman", "  "]
    assert "cuhk_pedes: 1 captions are empty" in caplog.text
