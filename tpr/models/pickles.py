"""The instructions of pickle that weights are written in, followed without importing or running anything.

`pickletools` decodes the instructions. Here they build plain values alone: a class or function stays a
`Name`, a tensor becomes a note of where its values lie, and every other object an `Unbuilt`.
"""

import pickletools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, Any

import torch


@dataclass(frozen=True)
class Name:
    """A class or function that a file names."""

    words: str
    """Its module and name with dots between them."""


class Unbuilt:
    """An object that is not built: the name of its class or function, and the attributes it would get."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.attributes: dict[Any, Any] = {}


@dataclass(frozen=True)
class Storage:
    """A run of values in a file."""

    key: str
    dtype: torch.dtype
    count: int
    """Values of `dtype`."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor whose values are still in the file; nothing about it has been checked."""

    storage: Storage
    dtype: torch.dtype
    offset: Any
    shape: Any
    strides: Any


STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "ComplexDoubleStorage": torch.complex128,
    "ComplexFloatStorage": torch.complex64,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "QInt8Storage": torch.int8,
    "QInt32Storage": torch.int32,
    "QUInt8Storage": torch.uint8,
    "ShortStorage": torch.int16,
    "UntypedStorage": torch.uint8,
}
DTYPES = {
    f"torch.{name}": dtype
    for name in ("uint16", "uint32", "uint64", "float8_e4m3fn", "float8_e5m2")
    if (dtype := getattr(torch, name, None)) is not None
}
"""Types without a storage class of their own."""


def read_pickle(stream: IO[bytes]) -> tuple[Any, dict[str, Storage]]:
    """The next pickled value of a stream, which then stands behind it, and the storages that it names.

    Raises ValueError where the instructions are damaged or are none that weights need.
    """
    reader = _Reader()
    try:
        with warnings.catch_warnings():
            # Python warns of odd escapes in names, which damaged files have.
            warnings.simplefilter("ignore")
            for instruction, argument, _ in pickletools.genops(stream):
                reader.follow(instruction.name, argument)
        return reader.stack.pop(), reader.storages
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"the pickled values do not fit each other ({error})") from None


class _Reader:
    """A stack, the stacks below its marks, and what was put aside, as pickle's documentation has them."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: dict[str, Storage] = {}

    def follow(self, instruction: str, argument: Any) -> None:
        if instruction in VALUES:
            self.push(argument)
        elif instruction in STACKED:
            STACKED[instruction](self, argument)
        else:
            raise ValueError(f"the instruction {instruction} is none that weights need")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop_mark(self) -> list[Any]:
        entries, self.stack = self.stack, self.below.pop()
        return entries

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def take(self, count: int) -> tuple[Any, ...]:
        entries = tuple(self.stack[len(self.stack) - count :])
        if len(entries) < count:
            raise IndexError("nothing is left")
        del self.stack[len(self.stack) - count :]
        return entries

    def set_items(self, entries: list[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(entries[::2], entries[1::2], strict=True):
            # The hash of a nested tuple can take for ever; nothing that is read has one for a key.
            if isinstance(target, dict) and isinstance(key, str | int | float | bytes | None):
                target[key] = value

    def append_items(self, entries: list[Any]) -> None:
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(entries)

    def name(self) -> None:
        module, name = self.take(2)
        if not (isinstance(module, str) and isinstance(name, str)):
            raise TypeError("a name is no text")
        self.push(Name(f"{module}.{name}"))

    def call(self, arguments: Any) -> None:
        function = self.stack.pop()
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            self.push(Unbuilt("the result of a call"))
            return
        build = BUILDERS.get(function.words)
        self.push(Unbuilt(function.words) if build is None else build(*arguments))

    def give_attributes(self) -> None:
        target, attributes = self.take(2)
        if isinstance(target, Unbuilt) and isinstance(attributes, dict):
            target.attributes = attributes
        self.push(target)

    def find_storage(self) -> None:
        """torch's mark of a storage: ('storage', class, key, device, count), in old files with a view."""
        (mark,) = self.take(1)
        if mark[0] == "module":
            self.push(mark[1])  # a class, with its source code behind it in old files
            return
        kind, storage, key, _, count, *view = mark
        if kind != "storage" or not isinstance(key, str) or type(count) is not int or any(view) or count < 0:
            raise ValueError("a reference to something other than values")
        dtype = STORAGES.get(storage.words.rpartition(".")[2])
        if dtype is None:
            self.push(Unbuilt(storage.words))
            return
        self.push(self.storages.setdefault(key, Storage(key, dtype, count)))


def _pass(reader: _Reader, argument: Any) -> None:
    """Versions and frame lengths say nothing about values."""


VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING",
    "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES",
    "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
"""Instructions that push the value they carry."""
STACKED: dict[str, Callable[[_Reader, Any], object]] = {
    "PROTO": _pass,
    "FRAME": _pass,
    "STOP": _pass,
    "NONE": lambda reader, _: reader.push(None),
    "NEWTRUE": lambda reader, _: reader.push(True),
    "NEWFALSE": lambda reader, _: reader.push(False),
    "EMPTY_TUPLE": lambda reader, _: reader.push(()),
    "EMPTY_LIST": lambda reader, _: reader.push([]),
    "EMPTY_DICT": lambda reader, _: reader.push({}),
    "EMPTY_SET": lambda reader, _: reader.push(Unbuilt("set")),
    "MARK": lambda reader, _: reader.mark(),
    "POP": lambda reader, _: reader.take(1),
    "POP_MARK": lambda reader, _: reader.pop_mark(),
    "DUP": lambda reader, _: reader.push(reader.stack[-1]),
    "TUPLE": lambda reader, _: reader.push(tuple(reader.pop_mark())),
    "TUPLE1": lambda reader, _: reader.push(reader.take(1)),
    "TUPLE2": lambda reader, _: reader.push(reader.take(2)),
    "TUPLE3": lambda reader, _: reader.push(reader.take(3)),
    "LIST": lambda reader, _: reader.push(reader.pop_mark()),
    "APPEND": lambda reader, _: reader.append_items(list(reader.take(1))),
    "APPENDS": lambda reader, _: reader.append_items(reader.pop_mark()),
    "ADDITEMS": lambda reader, _: reader.pop_mark(),
    "SETITEM": lambda reader, _: reader.set_items(list(reader.take(2))),
    "SETITEMS": lambda reader, _: reader.set_items(reader.pop_mark()),
    "GET": lambda reader, place: reader.push(reader.memo[place]),
    "BINGET": lambda reader, place: reader.push(reader.memo[place]),
    "LONG_BINGET": lambda reader, place: reader.push(reader.memo[place]),
    "PUT": lambda reader, place: reader.memo.update({place: reader.stack[-1]}),
    "BINPUT": lambda reader, place: reader.memo.update({place: reader.stack[-1]}),
    "LONG_BINPUT": lambda reader, place: reader.memo.update({place: reader.stack[-1]}),
    "MEMOIZE": lambda reader, _: reader.memo.update({len(reader.memo): reader.stack[-1]}),
    "GLOBAL": lambda reader, words: reader.push(Name(words.replace(" ", "."))),
    "STACK_GLOBAL": lambda reader, _: reader.name(),
    "REDUCE": lambda reader, _: reader.call(reader.stack.pop()),
    "NEWOBJ": lambda reader, _: reader.call(reader.stack.pop()),
    "NEWOBJ_EX": lambda reader, _: reader.call(reader.take(2)[0]),
    "BUILD": lambda reader, _: reader.give_attributes(),
    "BINPERSID": lambda reader, _: reader.find_storage(),
}


def _note_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Any:
    if not isinstance(storage, Storage):
        return Unbuilt(storage.name if isinstance(storage, Unbuilt) else "a tensor without values")
    return StoredTensor(storage, storage.dtype, offset, shape, strides)


def _note_typed_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Any:
    """Arguments of torch's third form: whether it is trained, hooks, and the type that its storage lacks."""
    words = rest[2].words
    if not isinstance(storage, Storage) or words not in DTYPES:
        return Unbuilt(words)
    return StoredTensor(storage, DTYPES[words], offset, shape, strides)


def _pass_first(value: Any, *_: Any) -> Any:
    return value


def _copy_mapping(*arguments: Any) -> dict[Any, Any]:
    given = next((part for part in arguments if isinstance(part, Mapping)), {})
    return dict(given)


def _rebuild(function: Any, kind: Any, arguments: Any, *_: Any) -> Any:
    """A tensor with attributes or of a class of its own: the tensor alone."""
    if function.words not in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor_v3"):
        return Unbuilt(kind.words)
    return BUILDERS[function.words](*arguments)


BUILDERS: Mapping[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor": _note_tensor,
    "torch._utils._rebuild_tensor_v2": _note_tensor,
    "torch._utils._rebuild_tensor_v3": _note_typed_tensor,
    "torch._utils._rebuild_parameter": _pass_first,
    "torch._utils._rebuild_parameter_with_state": _pass_first,
    "torch._tensor._rebuild_from_type_v2": _rebuild,
    "torch.jit._pickle.build_boollist": _pass_first,
    "torch.jit._pickle.build_doublelist": _pass_first,
    "torch.jit._pickle.build_intlist": _pass_first,
    "torch.jit._pickle.build_tensorlist": _pass_first,
    "torch.jit._pickle.restore_type_tag": _pass_first,
    "torch.Size": _pass_first,
    "collections.Counter": _copy_mapping,
    "collections.OrderedDict": _copy_mapping,
    "collections.defaultdict": _copy_mapping,
}
"""What is built of calls: all of them tensors and plain containers."""
