"""Whatever bytes a checkpoint file has: its values, the same as before where checked, or one line."""

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save
from torch import Tensor, nn

from tests.models.odd_archives import make_openai_archive
from tpr.engine.checkpoint import read_checkpoint_file, write_checkpoint, write_safetensors
from tpr.errors import CheckpointError
from tpr.models import read_checkpoint

STATE = {
    "visual.proj": torch.arange(6.0).reshape(3, 2),
    "ln_final.weight": torch.ones(2, dtype=torch.float16),
}
ABOUT: dict[str, Any] = {"config": {"name": "drawn-x", "seed": 1}, "setting": {"captions": 4}}


def make_ours(path: Path) -> None:
    write_checkpoint(path, {"model": STATE, **ABOUT})


def make_ours_safe(path: Path) -> None:
    write_safetensors(path, STATE, ABOUT)


def make_safe(path: Path) -> None:
    path.write_bytes(save(STATE))


def make_new(path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, path)


def make_old(path: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, path, _use_new_zipfile_serialization=False)


CHECKED = {"ours": make_ours, "ours_safe": make_ours_safe, "new": make_new, "archive": make_openai_archive}
"""Kinds with checksums: what is read is what was written."""
UNCHECKED = {"safe": make_safe, "old": make_old}
CHANGES = st.lists(
    st.one_of(
        st.tuples(st.just("set"), st.integers(0, 2**31), st.binary(min_size=1, max_size=8)),
        st.tuples(st.just("cut"), st.integers(0, 2**31), st.just(b"")),
        st.tuples(st.just("flip"), st.integers(0, 2**31), st.binary(min_size=1, max_size=1)),
        st.tuples(st.just("insert"), st.integers(0, 2**31), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=4,
)


def change(content: bytes, changes: list[tuple[str, int, bytes]]) -> bytes:
    changed = bytearray(content)
    for kind, where, value in changes:
        place = where % max(len(changed), 1)
        if kind == "cut":
            del changed[place:]
        elif kind == "insert":
            changed[place:place] = value
        elif kind == "flip" and changed:
            changed[place] ^= value[0]
        else:
            changed[place : place + len(value)] = value
    return bytes(changed)


def read_or_refuse(path: Path) -> dict[str, Tensor] | None:
    """The weights, or None after one line."""
    try:
        return read_checkpoint(path).state
    except CheckpointError as error:
        assert "\n" not in str(error) and str(error).startswith(str(path)), str(error)
        return None


@pytest.mark.parametrize("kind", [*CHECKED, *UNCHECKED])
@settings(
    max_examples=40, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(changes=CHANGES)
def test_changed_bytes_give_the_same_values_or_one_line(
    kind: str, changes: list[tuple[str, int, bytes]], tmp_path: Path
) -> None:
    original, path = tmp_path / "whole.pt", tmp_path / "odd.pt"
    if not original.exists():
        (CHECKED | UNCHECKED)[kind](original)
    path.write_bytes(change(original.read_bytes(), changes))
    found = read_or_refuse(path)
    if found is not None and kind in CHECKED:
        wanted = read_checkpoint(original).state
        assert found.keys() == wanted.keys()
        assert all(torch.equal(found[name], value) for name, value in wanted.items())
    try:
        read_checkpoint_file(path)
    except CheckpointError as error:
        assert "\n" not in str(error)


def read_pickle_of(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with zipfile.ZipFile(buffer) as archive:
        return archive.read("archive/data.pkl")


def write_zip(path: Path, pickled: bytes, storages: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for key, value in storages.items():
            archive.writestr(f"archive/data/{key}", value)


@settings(
    max_examples=150, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(changes=CHANGES)
def test_changed_instructions_behind_a_right_checksum_give_values_or_one_line(
    changes: list[tuple[str, int, bytes]], tmp_path: Path
) -> None:
    module = nn.Linear(2, 2)
    pickled = change(read_pickle_of({"model": module, "net": STATE, "epoch": 3}), changes)
    write_zip(tmp_path / "odd.pt", pickled, {"0": bytes(16), "1": bytes(8), "2": bytes(24), "3": bytes(4)})
    read_or_refuse(tmp_path / "odd.pt")


def nest(depth: int, width: int) -> bytes:
    """A list of the list before it, again and again, as instructions."""
    body = b"".join(b"0](" + b"h\x00" * width + b"e" + b"q\x00" for _ in range(depth))
    return b"\x80\x02]q\x00" + body + b"."


@pytest.mark.parametrize(
    "pickled",
    [
        b"\x80\x02)" + b"\x85" * 5000 + b".",
        nest(60, 2),
        b"\x80\x02}(X\x06\0\0\0formatX\x03\0\0\0tprX\x06\0\0\0config" + nest(60, 2)[2:-1] + b"u.",
        b"\x80\x02}(" + b")q\x00" + b"0h\x00h\x00\x86q\x00" * 60 + b"K\x01u.",
        b"\x80\x02]r" + struct.pack("<I", 2**31 - 1) + b".",
        b"\x80\x02\x8e" + struct.pack("<Q", 2**62) + b"x.",
        b"\x80\x02]q\x00h\x00a.",
        b"\x80\x02cposix\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02(K\x01K\x02iposix\nsystem\n.",
        b"\x80\x02}}Nb.",
        b"\x80\x02I" + b"9" * 5000 + b"\n.",
        b"\x80\x02" + b"(" * 5000 + b".",
        b"\x80\x02\x82\x01.",
    ],
)  # fmt: skip
def test_instructions_that_would_hang_or_run_something_are_one_line_at_once(
    pickled: bytes, tmp_path: Path
) -> None:
    write_zip(tmp_path / "odd.pt", pickled, {})
    assert read_or_refuse(tmp_path / "odd.pt") is None
    with pytest.raises(CheckpointError, match="odd.pt: ") as error:
        read_checkpoint_file(tmp_path / "odd.pt")
    assert "\n" not in str(error.value)


def rename_record(content: bytes) -> bytes:
    """A flipped letter in the directory at the end, not before the record itself."""
    place = content.rindex(b"data/0")
    return content[:place] + b"dXta/0" + content[place + 6 :]


def set_method(content: bytes) -> bytes:
    """The first record says that it is packed by a method that nobody has."""
    place = content.index(b"PK\x01\x02") + 10
    return content[:place] + struct.pack("<H", 77) + content[place + 2 :]


def deflate(content: bytes) -> bytes:
    """Packed again, with the packed bytes of the first record broken."""
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w", 8) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    broken = bytearray(packed.getvalue())
    broken[broken.index(b"data.pkl") + 12] ^= 0xFF
    return bytes(broken)


def drop_storage(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            if not name.endswith("data/0"):
                target.writestr(name, source.read(name))
    return packed.getvalue()


def cut_storage(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(packed, "w") as target:
        for name in source.namelist():
            whole = source.read(name)
            target.writestr(name, whole[:-4] if name.endswith("data/0") else whole)
    return packed.getvalue()


@pytest.mark.parametrize("damage", [rename_record, set_method, deflate, drop_storage, cut_storage])
def test_damaged_records_are_called_so(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    make_new(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(
        CheckpointError, match=r"odd.pt: truncated or damaged \([\d,]+ bytes\); copy"
    ) as error:
        read_checkpoint(path)
    assert "\n" not in str(error.value)


def test_a_zip_file_without_torchs_record_says_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "odd.pt", "w") as archive:
        archive.writestr("word/document.xml", "<w/>")
    with pytest.raises(CheckpointError, match="odd.pt: a zip file without torch's data.pkl.*torch.save"):
        read_checkpoint(tmp_path / "odd.pt")


@pytest.mark.parametrize("version", [2, "new", True, 10**30, None])
@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_newer_format_is_refused_and_an_older_one_read(version: Any, ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"best.{ending}"
    if ending == "pt":
        torch.save({"format": "tpr", "format_version": version, "model": STATE}, path)
    else:
        write_safetensors(path, STATE, {"format_version": version})
    if version is None:
        assert read_checkpoint(path).state.keys() == STATE.keys()
        return
    shown = str(version)[:20]
    with pytest.raises(CheckpointError, match=f"is written in format {shown}, .*formats up to 1; install"):
        read_checkpoint(path)
    if ending == "pt":
        with pytest.raises(CheckpointError, match=f"is written in format {shown}, .*formats up to 1"):
            read_checkpoint_file(path)
