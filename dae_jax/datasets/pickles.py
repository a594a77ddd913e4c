"""The tutorial's own mnist.pkl.gz, or a pickle like it, read without running what it holds."""

import io
import os
import pickle
import re
from typing import Any

import numpy as np

from dae_jax.datasets.arrays import Header, blaming, read_content, to_array

_LARGEST = 1 << 31


class _Call:
    """What a pickle imports, or calls, or sets up: written down here, and never done."""

    def __init__(self, name: str, args: tuple = ()):
        self.name, self.args, self.state = name, args, None

    def __call__(self, *args: object) -> "_Call":
        return _Call(self.name, args)

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _refuse(_: pickle._Unpickler) -> None:
    raise pickle.UnpicklingError("more than arrays")


class _Inert(pickle._Unpickler):
    """An unpickler that makes nothing but numbers, text, sequences and _Calls.

    The one in Python, since the other obeys a pickle that asks for a memo of 64 GiB; without
    dictionaries and sets, whose keys can take for ever to hash; and with bytes for bytearrays,
    which Python sets aside before it looks whether they are there.
    """

    dispatch = pickle._Unpickler.dispatch | {
        pickle.BYTEARRAY8[0]: pickle._Unpickler.dispatch[pickle.BINBYTES8[0]],
        **dict.fromkeys(
            pickle.DICT + pickle.EMPTY_DICT + pickle.EMPTY_SET + pickle.FROZENSET, _refuse
        ),
    }

    def find_class(self, module: str, name: str) -> _Call:
        numpys = r"numpy\.(ndarray|dtype|_?core\.(multiarray\._reconstruct|numeric\._frombuffer))"
        if not re.fullmatch(rf"{numpys}|_codecs\.encode", f"{module}.{name}"):
            raise pickle.UnpicklingError(f"one that would import {module}.{name}")
        return _Call(name)


def _unpickled(call: Any) -> np.ndarray:
    """Make the array that NumPy's own _reconstruct or _frombuffer would have made."""
    match call:
        case _Call(name="_reconstruct", state=(int(), tuple(shape), dtype, fortran, raw)):
            order = "F" if fortran else "C"
        case _Call(name="_frombuffer", args=(raw, dtype, tuple(shape), "C" | "F" as order)):
            pass
        case _:
            raise ValueError("something that is no array")
    match dtype:
        case _Call(name="dtype", args=(str(code), *_), state=(int(), str(endian), *_)):
            # Anything else before the code, like "O," or "9", would make another type of it.
            if not re.fullmatch("[<>|][biuf][1248]", kind := endian + code):
                raise ValueError(f"an array of type {kind}")
        case _:
            raise ValueError("an array without a type")
    if isinstance(raw, _Call) and raw.name == "encode":  # How Python 3 writes bytes for Python 2.
        raw = raw.args[0]
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of unclear content")
    return to_array(bytearray(raw), Header(np.dtype(kind), shape, order))


def read_pickle(path: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Read the pickle of ((train_x, train_y), (valid_x, valid_y), (test_x, test_y)).

    Written by Python 2 or 3, plain or gzip (deeplearning.net, "Getting started"). What it would
    have NumPy do is written down while unpickling, and read as data afterwards.

    Args:
        path: The file; at most 2 GiB when unzipped.

    Returns:
        The three pairs of arrays, of whatever shapes and types of number.

    Raises:
        InputError: The pickle holds, imports or calls anything else, or is broken or too long.
    """
    content = read_content(path, _LARGEST)
    expected = "a pickle of three pairs (images, labels) of NumPy arrays and nothing else"
    with blaming(path, expected, "nothing was run; save the arrays as an .npz file"):
        if len(content) > _LARGEST:
            raise ValueError(f"more than {_LARGEST} bytes")
        pairs: Any = _Inert(io.BytesIO(content), encoding="latin1").load()
        match pairs:
            case [[_, _], [_, _], [_, _]]:
                return tuple((_unpickled(x), _unpickled(y)) for x, y in pairs)
        raise ValueError("something else")
