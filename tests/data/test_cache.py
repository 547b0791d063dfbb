import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tests.data.small_sets import choose, flip_bit, list_rows, load, write_cuhk
from tests.processes import LAST_RESORT, Processes
from tpr.config.schema import DataOptions
from tpr.data.adapters.cuhk_pedes import CuhkPedes
from tpr.data.tables import cache as cache_module
from tpr.data.tables import checksums
from tpr.data.tables.cache import cache_folder
from tpr.data.tables.checksums import read_sealed, sum_file, write_sealed
from tpr.data.tables.corpora import load_split
from tpr.data.tables.manifest import MANIFEST, load_manifest
from tpr.errors import DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data root with CUHK-PEDES."""
    write_cuhk(tmp_path / "data")
    return tmp_path / "data"


def list_entries(root: Path) -> list[Path]:
    """Entry folders of the cache beside this root, unfinished ones too; locks stay."""
    entries = (root.parent / "data-cache" / "corpora").iterdir()
    return sorted(path for path in entries if path.suffix != ".lock")


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
        monkeypatch.setattr(CuhkPedes, "version", CuhkPedes.version + 1)
    else:
        (root / "CUHK-PEDES").rename(root / "CUHK_PEDES")
    load(root, "cuhk_pedes")
    assert len(list_entries(root)) == 2


def test_an_annotation_changed_at_the_same_size_and_time_is_parsed_again(root: Path) -> None:
    load(root, "cuhk_pedes")
    path = root / "CUHK-PEDES" / "reid_raw.json"
    before = path.stat()
    path.write_text(path.read_text().replace("a woman", "a wonan"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_size, after.st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert load(root, "cuhk_pedes").captions(1) == ["a wonan", "she runs"]


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
    assert caplog.text.count("cached tables are damaged and are made again") == 1
    caplog.clear()
    assert list_rows(load(root, "cuhk_pedes")) == expected
    assert not caplog.messages


def test_a_flipped_bit_anywhere_in_an_entry_changes_no_data(root: Path) -> None:
    expected = {split: list_rows(load(root, "cuhk_pedes", split)) for split in ("train", "test")}
    (entry,) = list_entries(root)
    files = sorted(entry.iterdir())
    random = np.random.default_rng(1)
    for _ in range(20):
        flip_bit(files[random.integers(len(files))], random)
        for split, rows in expected.items():
            assert list_rows(load(root, "cuhk_pedes", split)) == rows


def test_an_entry_of_other_columns_is_made_again(root: Path) -> None:
    expected = list_rows(load(root, "cuhk_pedes"))
    (entry,) = list_entries(root)
    with pa.OSFile(str(entry / "train-00000.arrow"), "wb") as file:
        table = pa.table({"image": ["a", "b", "c"]})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    manifest = read_sealed(entry / MANIFEST)
    sums = manifest["splits"]["train"]["checksums"]
    sums["train-00000.arrow"] = asdict(sum_file(entry / "train-00000.arrow"))
    write_sealed(entry / MANIFEST, manifest)
    assert list_rows(load(root, "cuhk_pedes")) == expected


def test_a_process_verifies_a_file_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    digest = checksums._digest_file

    def note(path: Path, *rest: Any) -> str:
        read.append(path)
        return digest(path, *rest)

    load(root, "cuhk_pedes")
    checksums._digest_once.cache_clear()
    monkeypatch.setattr(checksums, "_digest_file", note)
    for _ in range(2):
        load(root, "cuhk_pedes")
    assert len(read) == len(set(read)) == 9


def test_a_manifest_may_not_lead_out_of_its_folder(root: Path) -> None:
    load(root, "cuhk_pedes")
    (entry,) = list_entries(root)
    manifest = json.dumps(read_sealed(entry / MANIFEST))
    write_sealed(entry / MANIFEST, json.loads(manifest.replace("train-00000.arrow", "../train-00000.arrow")))
    with pytest.raises(DataError, match="a file name leads out of the folder"):
        load_manifest(entry)


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

    monkeypatch.setattr("tpr.data.tables.columns.sync", fail)
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
    monkeypatch.setattr(cache_module, "take_turns", nullcontext)
    parse = CuhkPedes.parse
    written = []

    def be_overtaken(adapter: CuhkPedes, folder: Path) -> object:
        monkeypatch.setattr(CuhkPedes, "parse", parse)
        load(root, "cuhk_pedes")
        written.extend(path / MANIFEST for path in list_entries(root) if not path.name.startswith("."))
        written.append(written[0].stat().st_ino)
        return parse(adapter, folder)

    monkeypatch.setattr(CuhkPedes, "parse", be_overtaken)
    assert len(load(root, "cuhk_pedes")) == 3
    manifest, inode = written
    assert manifest.stat().st_ino == inode
    assert list_entries(root) == [manifest.parent]


def test_the_default_folder_follows_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder(DataOptions()) == Path("/somewhere/tpr")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder(DataOptions()) == Path.home() / ".cache" / "tpr"


def test_empty_captions_are_announced(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = root / "CUHK-PEDES" / "reid_raw.json"
    path.write_text(path.read_text().replace("she runs", "  "))
    corpus = load(root, "cuhk_pedes")
    assert corpus.captions(1) == ["a woman", "  "]
    assert "cuhk_pedes: 1 captions are empty" in caplog.text
