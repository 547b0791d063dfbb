"""Files of `torch.save`, new and old, and TorchScript archives: their values, with nothing in them run.

What a file pickles is read by `pickles.py`; a tensor's values are read when they are asked for.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import SEEK_CUR, BytesIO
from lzma import LZMAError
from pathlib import Path
from struct import error as StructError
from struct import unpack
from typing import IO, Any, Protocol

import torch
from safetensors import SafetensorError
from torch import Tensor

from tpr.errors import CheckpointError
from tpr.models.pickles import Name, Storage, StoredTensor, Unbuilt, read_pickle

MAGIC = 0x1950A86A20F9469CFC6C
"""First value of torch's files before version 1.6."""
DAMAGES = (
    zipfile.BadZipFile, zlib.error, LZMAError, StructError, OSError, EOFError, ValueError, LookupError,
    TypeError, AttributeError, ArithmeticError, RuntimeError, SafetensorError,
)  # fmt: skip
"""What damaged bytes raise in zipfile, torch and safetensors."""
CHUNK = 1 << 24
DEEPEST = 100
"""Containers within each other; no checkpoint has as many."""
CONTENT = "data.pkl"
SAVE_WEIGHTS = 'torch.save(model.state_dict(), "weights.pt")'
"""What a person types where a file is refused."""


@contextmanager
def telling_damage(path: Path) -> Iterator[None]:
    """Ends what damaged bytes raise as CheckpointError in one line."""
    try:
        yield
    except DAMAGES:
        raise CheckpointError(
            f"{path}: truncated or damaged ({path.stat().st_size:,} bytes); copy or download it again"
        ) from None
    except MemoryError:
        raise CheckpointError(f"{path}: does not fit into this machine's memory") from None


def refuse(path: Path, found: str) -> CheckpointError:
    """The message for a file that holds more than weights."""
    return CheckpointError(
        f"{path}: refused: it holds {found}, which was not run; "
        f"save the weights alone in the program that wrote it: {SAVE_WEIGHTS}"
    )


class Bytes(Protocol):
    """Where a file's storages lie."""

    def read(self, storage: Storage) -> bytearray:
        """All bytes of one storage. Raises one of DAMAGES."""


class TorchFile:
    """An open file: what it pickles, with notes in place of tensors and of objects that are not built."""

    def __init__(self, path: Path, content: Any, places: Bytes, length: int) -> None:
        self.path = path
        self.content = content
        self._places = places
        self._left = 2 * length + 1000
        self._read: dict[str, Tensor] = {}

    def names_class(self, start: str) -> bool:
        """True where the whole file is one object of a class whose name starts so."""
        return isinstance(self.content, Unbuilt) and self.content.name.startswith(start)

    def load(self, stored: StoredTensor, name: str) -> Tensor:
        """A tensor on the CPU; tensors that share values in the file share them here.

        Raises CheckpointError in one line where it is not within the values that are there.
        """
        with telling_damage(self.path):
            count = stored.storage.count * stored.storage.dtype.itemsize // stored.dtype.itemsize
            lengths = (stored.offset, *stored.shape, *stored.strides)
            if len(lengths) > DEEPEST or not all(type(size) is int and 0 <= size < 2**63 for size in lengths):
                raise ValueError("a size is no count")
            values = math.prod(stored.shape)
            steps = zip(stored.shape, stored.strides, strict=True)
            last = stored.offset + sum((length - 1) * step for length, step in steps)
            if values <= count and (not values or last < count):
                flat = self._load_storage(stored.storage).view(stored.dtype)
                return flat.as_strided(stored.shape, stored.strides, stored.offset)
        shape = "x".join(map(str, stored.shape))
        raise CheckpointError(
            f"{self.path}: {name} has shape {shape[:80]}, but {count:,} values are stored for it; "
            f"if it was expanded, save it again with .clone()"
        )

    def _load_storage(self, storage: Storage) -> Tensor:
        if storage.key not in self._read:
            content = self._places.read(storage)
            if len(content) != storage.count * storage.dtype.itemsize:
                raise ValueError("a record is too short")
            # torch refuses an empty buffer.
            flat = torch.empty(0, dtype=torch.uint8)
            self._read[storage.key] = torch.frombuffer(content, dtype=torch.uint8) if content else flat
        return self._read[storage.key]

    def build(self, value: Any, where: str = "", depth: int = 0) -> Any:
        """Plain containers and values with all tensors loaded; where: name in messages.

        Raises CheckpointError where an object that is not built stands in them, and where they are nested or
        repeated beyond measure.
        """
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise CheckpointError(f"{self.path}: {where.partition('.')[0] or 'it'} is nested without end")
        if isinstance(value, StoredTensor):
            return self.load(value, where)
        if isinstance(value, dict):
            return {key: self.build(part, f"{where}.{key}", depth + 1) for key, part in value.items()}
        if isinstance(value, list | tuple):
            parts = (self.build(part, where, depth + 1) for part in value)
            return tuple(parts) if isinstance(value, tuple) else list(parts)
        if isinstance(value, Unbuilt | Name):
            raise refuse(self.path, f"pickled code ({shorten(value)})")
        return value


def shorten(value: Unbuilt | Name) -> str:
    """The name of a class on one line."""
    name = value.name if isinstance(value, Unbuilt) else value.words
    return name[:80] if name.isprintable() else ascii(name)[:80]


@contextmanager
def open_torch(path: Path) -> Iterator[TorchFile]:
    """A file of `torch.save`, of any version, or a TorchScript archive.

    Raises CheckpointError in one line; so do the reads within the context.
    """
    with path.open("rb") as file, ExitStack() as opened:
        if file.read(2) != b"PK":
            file.seek(0)
            yield _open_old(path, file)
            return
        with telling_damage(path):
            archive = opened.enter_context(zipfile.ZipFile(file))
        yield _open_zip(path, archive)


@dataclass(frozen=True)
class _ZipRecords:
    """Storages as records of a zip file, whose checksums are verified as they are read."""

    archive: zipfile.ZipFile
    root: str

    def read(self, storage: Storage) -> bytearray:
        return self.read_record(f"data/{storage.key}")

    def read_record(self, name: str) -> bytearray:
        """A whole record. Raises KeyError where there is none."""
        found = bytearray()
        with self.archive.open(self.root + name) as record:
            while chunk := record.read(CHUNK):
                found += chunk
        return found


def _open_zip(path: Path, archive: zipfile.ZipFile) -> TorchFile:
    names = archive.namelist()
    roots = [name.removesuffix(CONTENT) for name in names if name.partition("/")[2] == CONTENT]
    if len(roots) != 1:
        raise CheckpointError(
            f"{path}: a zip file without torch's {CONTENT}, so no checkpoint of torch 1.5 or later; "
            f"save the weights in the program that wrote it: {SAVE_WEIGHTS}"
        )
    records = _ZipRecords(archive, roots[0])
    with telling_damage(path):
        order = records.read_record("byteorder") if f"{roots[0]}byteorder" in names else b"little"
        pickled = records.read_record(CONTENT)
        content, _ = read_pickle(BytesIO(pickled))
    _check_order(path, order == b"little")
    return TorchFile(path, content, records, len(pickled))


@dataclass(frozen=True)
class _OldRecords:
    """Storages one after the other, each behind the number of its values."""

    file: IO[bytes]
    places: Mapping[str, int]

    def read(self, storage: Storage) -> bytearray:
        self.file.seek(self.places[storage.key])
        return bytearray(self.file.read(storage.count * storage.dtype.itemsize))


def _open_old(path: Path, file: IO[bytes]) -> TorchFile:
    with telling_damage(path):
        if read_pickle(file)[0] != MAGIC:
            raise refuse(path, "a plain pickle")
        read_pickle(file)  # a version that never changed
        _check_order(path, bool(read_pickle(file)[0]["little_endian"]))
        content, storages = read_pickle(file)
        length = file.tell()
        keys, _ = read_pickle(file)
        places = {}
        for key in keys:
            (count,) = unpack("<q", file.read(8))
            storage = storages[key]
            if count != storage.count:
                raise ValueError("a storage is not as long as it is said to be")
            places[key] = file.tell()
            if file.seek(count * storage.dtype.itemsize, SEEK_CUR) > path.stat().st_size:
                raise EOFError("a storage ends behind the file")
    return TorchFile(path, content, _OldRecords(file, places), length)


def _check_order(path: Path, is_little: bool) -> None:
    if not is_little:
        raise CheckpointError(f"{path}: holds big-endian values; save it again on another machine")
