"""Shared helpers: keys, errors that are one clear line, IDX files, files of a run."""

import importlib.util
import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import numpy as np
import pytest

from dae_jax.errors import InputError

ROOT = Path(__file__).parent.parent
SLOW = pytest.mark.slow  # for single parameters: ``pytest.param(..., marks=SLOW)``
IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def key(seed: int = 7) -> jax.Array:
    """A new key object, since the tests check that each is used for one draw only."""
    return jax.random.key(seed)


def script(path: Path) -> ModuleType:
    """A module that is in no package, such as those of `docs/`."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(init: Callable[[], Any], seed: int = 0) -> Any:
    """Parameters of the shapes that `init` returns, all of them normal numbers.

    They are NumPy's, since the random numbers of JAX are compiled anew for every shape.
    """
    rng = np.random.default_rng(seed)
    with jax.debug_key_reuse(False):  # nothing is drawn from the keys
        shapes = jax.eval_shape(init)
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(leaf.dtype), shapes)


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


def assert_one_line(err: str, *words: str) -> None:
    """Check that a command wrote a single line of complaint with all the words."""
    assert err.startswith("error: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word.lower() in err.lower()


def idx_bytes(array: np.ndarray) -> bytes:
    """An array as LeCun's page describes the format: magic, sizes, values, big-endian."""
    code = IDX_CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    values = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, code, array.ndim]) + sizes + values


def files(folder: str | Path = ".") -> set[str]:
    """The files below a folder, but for those by which a process owns it."""
    paths = {str(p.relative_to(folder)) for p in Path(folder).rglob("*") if p.is_file()}
    return {path for path in paths if Path(path).name not in (".lock", ".owner")}


def contents(folder: str | Path) -> dict[str, bytes]:
    """The files below a folder with their contents."""
    return {name: Path(folder, name).read_bytes() for name in files(folder)}


def read_json(path: str | Path) -> Any:
    """The content of a JSON file."""
    return json.loads(Path(path).read_text())


def sigmoid(a: np.ndarray) -> np.ndarray:
    """The logistic function in NumPy."""
    return 1 / (1 + np.exp(-a))
