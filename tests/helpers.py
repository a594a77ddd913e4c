"""What several test files need: a key, an error that is one clear line, IDX files made by hand."""

import struct
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import pytest

from dae_jax.errors import InputError

IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def key(seed: int = 7) -> jax.Array:
    """A new object each time: a key is good for one draw, and the tests run with that checked."""
    return jax.random.key(seed)


def refused(call: Callable, *words: str) -> str:
    """The message of the InputError that the call must raise: one line that has all the words."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def refused_file(read: Callable, path: Path, *words: str) -> str:
    """The same for a reader, whose error must name the file."""
    return refused(lambda: read(path), path.name, *words)


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as LeCun's page describes the format: magic, sizes, values, big-endian."""
    code = IDX_CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    values = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + values
