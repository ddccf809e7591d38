"""Reads lists, dicts, numbers, bytes and NumPy arrays from a pickle without executing it.

A pickle is a program: Python's unpickler calls the functions that the pickle names. Even if only
NumPy's functions are allowed, a hostile pickle can crash the process. This module interprets the
opcodes as data, and never imports or calls what a pickle names. It knows protocols 0 to 5 of
Python 2 and 3.
Sources: Python's `pickletools` for the opcodes, `ndarray.__reduce__` for the arrays.
"""

import codecs
import math
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_OPCODES = 1 << 20
"""Limit for a pickle. A batch of CIFAR-10 has about 70,000 opcodes."""

_RECONSTRUCT, _FROM_BUFFER, _SCALAR = "_reconstruct", "_frombuffer", "scalar"
_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy.core.multiarray", "scalar"): _SCALAR,
    ("numpy._core.multiarray", "scalar"): _SCALAR,
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
    ("builtins", "bytes"): "bytes",
}


@dataclass(frozen=True)
class _Name:
    """A function or class of `_NAMES` on the stack."""

    means: str


@dataclass
class _Type:
    """A NumPy type of whole numbers: its code, for example u1, and its byte order."""

    code: str
    order: str = "|"

    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.order.replace("|", "=") + self.code)


@dataclass
class Array:
    """A NumPy array, described by the values that the pickle holds."""

    shape: tuple[int, ...] = (0,)
    type: _Type | None = None
    fortran: bool = False
    content: bytes | bytearray = b""

    def to_numpy(self) -> npt.NDArray[Any]:
        """Return the array, a view of the pickle's bytes.

        Raises:
            ValueError: its shape and type do not match the number of bytes.
        """
        if self.type is None:
            raise ValueError("an array has no content")
        dtype = self.type.dtype()
        if math.prod(self.shape) * dtype.itemsize != len(self.content):
            raise ValueError(f"an array of {self.shape} {dtype} has {len(self.content)} bytes")
        flat = np.frombuffer(self.content, dtype)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def load(content: bytes) -> Any:
    """Return the object that a pickle holds. NumPy arrays become `Array`.

    Python 2's strings become bytes.

    Raises:
        ValueError: the pickle is damaged, holds other objects, or has too many opcodes.
    """
    machine = _Machine(content)
    for _ in range(MOST_OPCODES):
        code = machine.take(1)
        if code == b".":
            return machine.result()
        step = _OPCODES.get(code)
        if step is None:
            raise ValueError(f"a pickle with opcode {code!r}, which arrays and lists do not need")
        step(machine)
    raise ValueError(f"a pickle of more than {MOST_OPCODES} opcodes")


class _Machine:
    """The state while a pickle is read: position, stack, stacks below the marks, memo."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        # Limit for bytes encoded from text: a hostile pickle could repeat a text of the memo.
        self._room = len(content)

    # --- the pickle's bytes

    def take(self, count: int) -> bytes:
        end = self._at + count
        if not 0 <= count <= len(self._content) - self._at:
            raise ValueError("a pickle that is cut")
        taken, self._at = self._content[self._at : end], end
        return taken

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, size: int, signed: bool = False) -> int:
        return int.from_bytes(self.take(size), "little", signed=signed)

    def line(self) -> bytes:
        end = self._content.find(b"\n", self._at)
        taken = self.take(max(end, self._at) - self._at)
        self.take(1)
        return taken

    # --- the stack

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self, *types: type) -> Any:
        if not self._stack:
            raise ValueError("a pickle that takes a value from an empty stack")
        value = self._stack.pop()
        if types and not isinstance(value, types):
            raise ValueError(f"a pickle with a {type(value).__name__} in the wrong place")
        return value

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def marked(self) -> list[Any]:
        if not self._below:
            raise ValueError("a pickle that returns to a mark which it did not set")
        values, self._stack = self._stack, self._below.pop()
        return values

    def result(self) -> Any:
        value = self.pop()
        if self._stack or self._below or self._at != len(self._content):
            raise ValueError("a pickle with more than one object")
        return value

    # --- what the opcodes do

    def memoize(self, index: int | None = None) -> None:
        value = self.pop()
        self.push(value)
        self._memo[len(self._memo) if index is None else index] = value

    def recall(self, index: int) -> None:
        if index not in self._memo:
            raise ValueError("a pickle that reads a memo which it did not write")
        self.push(self._memo[index])

    def string(self) -> None:
        """Push a string of Python 2's protocol 0, which stands in quotes as in a program."""
        text = self.line()
        if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
            raise ValueError("a pickle with a string without quotes")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # an unknown escape
            try:
                self.push(codecs.escape_decode(text[1:-1])[0])
            except Warning as warning:
                raise ValueError(str(warning)) from None

    def append(self, values: list[Any]) -> None:
        target = self.pop(list)
        target += values
        self.push(target)

    def set_items(self, values: list[Any]) -> None:
        target = self.pop(dict)
        if len(values) % 2 or not all(isinstance(key, str | bytes | int) for key in values[::2]):
            raise ValueError("a pickle with a dict whose keys are not texts or numbers")
        target.update(zip(values[::2], values[1::2], strict=True))
        self.push(target)

    def name(self, module: str, name: str) -> None:
        if (module, name) not in _NAMES:
            raise ValueError(f"a pickle that names {module}.{name}, which is not allowed")
        self.push(_Name(_NAMES[module, name]))

    def reduce(self) -> None:
        """Push, as data, what a function of `_NAMES` would return for the arguments."""
        arguments, called = self.pop(tuple), self.pop(_Name).means
        match called, arguments:
            case "_reconstruct", (_Name("ndarray"), (0,), _):
                self.push(Array())
            case "dtype", (code, *_):
                self.push(_type(code))
            case "_frombuffer", (bytes() | bytearray() as content, _Type() as kind, shape, order):
                self.push(Array(_shape(shape), kind, order == "F", content))
            case "scalar", (_Type() as kind, bytes() as content):
                self.push(int(Array((), kind, False, content).to_numpy()[()]))
            case "encode", (str() as text, "latin1" | "latin-1"):
                self._room -= len(text)
                if self._room < 0:
                    raise ValueError("a pickle that multiplies its bytes")
                self.push(text.encode("latin1"))
            case "bytes", ():
                self.push(b"")
            case _:
                raise ValueError(f"a pickle that calls {called} with other arguments")

    def build(self) -> None:
        """Set the state of an array or of its type."""
        state, target = self.pop(tuple), self.pop(Array, _Type)
        match target, state:
            case Array(), (1, shape, _Type() as kind, bool() | 0 | 1 as fortran, content):
                if not isinstance(content, bytes | bytearray):
                    raise ValueError("an array whose content is not bytes")
                target.shape, target.type = _shape(shape), kind
                target.fortran, target.content = bool(fortran), content
            case _Type(), (3, "|" | "<" | ">" | b"|" | b"<" | b">" as order, None, None, None, *_):
                target.order = order.decode() if isinstance(order, bytes) else order
            case _:
                raise ValueError(
                    "a pickle with a state that does not belong to an array of numbers"
                )
        self.push(target)


def _type(code: object) -> _Type:
    text = code.decode("latin1") if isinstance(code, bytes) else code
    if not isinstance(text, str) or not re.fullmatch("[iu][1248]", text):
        raise ValueError("an array must be of whole numbers")
    return _Type(text)


def _shape(shape: object) -> tuple[int, ...]:
    if (
        not isinstance(shape, tuple)
        or len(shape) > 4
        or not all(type(size) is int and 0 <= size < 1 << 31 for size in shape)  # True is no size
    ):
        raise ValueError("an array must have up to four sizes")
    return shape


def _global(m: _Machine) -> None:
    m.name(m.line().decode(), m.line().decode())


def _stack_global(m: _Machine) -> None:
    name, module = m.pop(str), m.pop(str)
    m.name(module, name)


def _integer(m: _Machine) -> None:
    text = m.line()
    m.push(text == b"01" if text in (b"00", b"01") else _decimal(text))  # 00 is False, 01 is True


def _decimal(text: bytes) -> int:
    if not re.fullmatch(rb"-?\d{1,19}L?", text):
        raise ValueError("a pickle with a number that is not written as a whole number")
    return int(text.rstrip(b"L"))


def _long(m: _Machine, size: int) -> None:
    if size > 8:
        raise ValueError("a pickle with a number of more than 64 bits")
    m.push(m.number(size, signed=True))


def _text(m: _Machine, size: int) -> None:
    m.push(str(m.take(size), "utf-8", "surrogatepass"))


def _tuple(m: _Machine, count: int) -> None:
    m.push(tuple(reversed([m.pop() for _ in range(count)])))


def _pair(m: _Machine) -> list[Any]:
    return list(reversed([m.pop(), m.pop()]))


def _dict(m: _Machine) -> None:
    values = m.marked()
    m.push({})
    m.set_items(values)


_OPCODES: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: m.skip(1),  # the protocol
    b"\x95": lambda m: m.skip(8),  # a frame's size
    b"(": _Machine.mark,
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _integer,
    b"L": lambda m: m.push(_decimal(m.line())),
    b"J": lambda m: m.push(m.number(4, signed=True)),
    b"K": lambda m: m.push(m.number(1)),
    b"M": lambda m: m.push(m.number(2)),
    b"\x8a": lambda m: _long(m, m.number(1)),
    b"S": _Machine.string,
    b"T": lambda m: m.push(m.take(m.number(4, signed=True))),
    b"U": lambda m: m.push(m.take(m.number(1))),
    b"B": lambda m: m.push(m.take(m.number(4))),
    b"C": lambda m: m.push(m.take(m.number(1))),
    b"\x8e": lambda m: m.push(m.take(m.number(8))),
    b"\x96": lambda m: m.push(m.take(m.number(8))),  # a bytearray; bytes do, as nobody changes it
    b"V": lambda m: m.push(str(m.line(), "raw-unicode-escape")),
    b"X": lambda m: _text(m, m.number(4)),
    b"\x8c": lambda m: _text(m, m.number(1)),
    b"\x8d": lambda m: _text(m, m.number(8)),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.marked()),
    b"a": lambda m: m.append([m.pop()]),
    b"e": lambda m: m.append(m.marked()),
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.marked())),
    b"\x85": lambda m: _tuple(m, 1),
    b"\x86": lambda m: _tuple(m, 2),
    b"\x87": lambda m: _tuple(m, 3),
    b"}": lambda m: m.push({}),
    b"d": _dict,
    b"s": lambda m: m.set_items(_pair(m)),
    b"u": lambda m: m.set_items(m.marked()),
    b"p": lambda m: m.memoize(_decimal(m.line())),
    b"q": lambda m: m.memoize(m.number(1)),
    b"r": lambda m: m.memoize(m.number(4)),
    b"\x94": _Machine.memoize,
    b"g": lambda m: m.recall(_decimal(m.line())),
    b"h": lambda m: m.recall(m.number(1)),
    b"j": lambda m: m.recall(m.number(4)),
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}
