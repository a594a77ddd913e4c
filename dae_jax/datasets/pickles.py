"""Read the tutorial's mnist.pkl.gz, or a pickle like it, without running any code from it."""

import io
import os
import pickle
import re
from typing import Any

import numpy as np

from dae_jax import memory
from dae_jax.datasets.arrays import Header, blaming, read_content, to_array

__all__ = ["read_pickle"]

_MAX_BYTES = 1 << 31
_MAX_STEPS = 10_000  # of which the tutorial's file takes about a hundred


class _Call:
    """A record of something that a pickle imports, calls or sets the state of; nothing is run."""

    def __init__(self, name: str, args: tuple = ()):
        self.name, self.args, self.state = name, args, None

    def __call__(self, *args: object) -> "_Call":
        return _Call(self.name, args)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _refuse(_: pickle._Unpickler) -> None:
    raise pickle.UnpicklingError("one with a dictionary or a set")


class _Counted(dict[int, Any]):
    """The functions of an unpickler by instruction, `_MAX_STEPS` of which are found."""

    steps = 0

    def __getitem__(self, instruction: int) -> Any:
        self.steps += 1
        if self.steps > _MAX_STEPS:
            raise pickle.UnpicklingError(f"one of more than {_MAX_STEPS:,} instructions")
        return super().__getitem__(instruction)


class _Inert(pickle._Unpickler):
    """An unpickler that makes only numbers, text, sequences and `_Call` records.

    It derives from the unpickler in Python, because the one in C allocates a memo of 64 GiB if a
    pickle asks for it. Dictionaries and sets are refused, because malicious keys can take very
    long to hash. Bytearrays are read as bytes, because Python allocates a bytearray before it
    checks that the file is long enough.
    """

    dispatch = pickle._Unpickler.dispatch | {
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
        **dict.fromkeys(
            pickle.DICT + pickle.EMPTY_DICT + pickle.EMPTY_SET + pickle.FROZENSET, _refuse
        ),
    }

    def find_class(self, module: str, name: str) -> _Call:
        """Record the import of a function or class that NumPy's pickles need; refuse any other.

        Args:
            module: The module in the pickle.
            name: The function or class in it.

        Returns:
            A record, which the pickle may call.

        Raises:
            UnpicklingError: The name is any other.
        """
        numpy_names = r"ndarray|dtype|_?core\.(multiarray\._reconstruct|numeric\._frombuffer)"
        if not re.fullmatch(rf"numpy\.({numpy_names})|_codecs\.encode", f"{module}.{name}"):
            raise pickle.UnpicklingError(f"one that would import {module}.{name}")
        return _Call(name)


def _unpickled(call: Any) -> np.ndarray:
    """The array that NumPy's _reconstruct or _frombuffer would make of a recorded call."""
    match call:
        case _Call(name="_reconstruct", state=(int(), tuple(shape), dtype, fortran, raw)):
            order = "F" if fortran else "C"
        case _Call(name="_frombuffer", args=(raw, dtype, tuple(shape), "C" | "F" as order)):
            pass
        case _:
            raise ValueError("something other than an array")
    match dtype:
        case _Call(name="dtype", args=(str(code), *_), state=(int(), str(endian), *_)):
            # Another prefix, such as "O," or "9", would make this an object or structured type.
            if not re.fullmatch("[<>|][biuf][1248]", type_code := endian + code):
                raise ValueError(f"an array of type {type_code}")
        case _:
            raise ValueError("an array without a type")
    if isinstance(raw, _Call) and raw.name == "encode":  # Python 3 writes bytes so in protocol 2.
        raw = raw.args[0]
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array whose content or shape is malformed")
    return to_array(bytearray(raw), Header(np.dtype(type_code), shape, order))


def read_pickle(path: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Read a pickle of ((train_x, train_y), (valid_x, valid_y), (test_x, test_y)).

    This is the format of mnist.pkl.gz (deeplearning.net, "Getting started"), written by Python 2
    or 3, plain or gzip. The calls in the pickle are recorded instead of run; the arrays are then
    made from the records.

    Args:
        path: The file; at most 2 GiB when decompressed.

    Returns:
        The three pairs of arrays, of any shape and any type of number.

    Raises:
        InputError: The pickle holds, imports or calls anything else, is damaged, or is too large.
    """
    content = read_content(path, _MAX_BYTES)
    expected = "a pickle of three pairs (images, labels) of NumPy arrays and nothing else"
    with blaming(path, expected, "nothing was run; save the arrays as an .npz file"):
        if len(content) > _MAX_BYTES:
            raise ValueError(f"more than {_MAX_BYTES} bytes")
        memory.check(path, 2 * len(content), "free some")  # for the arrays' bytes, as read and made
        unpickler: Any = _Inert(io.BytesIO(content), encoding="latin1")
        unpickler.dispatch = _Counted(unpickler.dispatch)
        del content
        pairs: Any = unpickler.load()
        match pairs:
            case [[_, _], [_, _], [_, _]]:
                return tuple((_unpickled(x), _unpickled(y)) for x, y in pairs)
        raise ValueError("another structure")
