"""Images that are decoded once, into a file of pixels in the cache, and then read in parts."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from dae_jax import console, records
from dae_jax.datasets.arrays import read_npy
from dae_jax.errors import InputError
from dae_jax.files import unwritable, writable_folder, write_whole
from dae_jax.rows import Rows, sha256

__all__ = ["LARGE", "decoded", "each_of"]

Given = TypeVar("Given")
Made = TypeVar("Made")
CHUNK = 2_000
"""Images between two notes of how far the decoding has come."""
LARGE = 1 << 16
"""Values of an image from which on most of the time of decoding is that of Pillow's own code."""
WEEK = 7 * 24 * 3600.0
VERSION = 1


def each_of(
    function: Callable[[Given], Made],
    given: Sequence[Given],
    what: str = "",
    *,
    threads: bool = False,
) -> Iterator[Made]:
    """Apply a function to each thing, in order; a terminal shows a bar.

    Args:
        function: The function.
        given: The things.
        what: What is done, for the bar.
        threads: Whether to use all processors, for a function that spends its time in libraries
            that let other threads run meanwhile. Others are slower with threads.
    """
    remaining = iter(given)
    pool = ThreadPoolExecutor(console.cores()) if threads else None
    with pool or contextlib.nullcontext(), console.bar(len(given), what) as advance:
        # The `map` of threads takes all that it is given at once, of which there may be millions.
        while some := list(islice(remaining, CHUNK)):
            yield from map(function, some) if pool is None else pool.map(function, some)
            advance(len(some))


def decoded(
    files: Sequence[Path], decode: Callable[[Path], np.ndarray], shape: tuple[int, ...], how: str
) -> Rows:
    """The pixels of images, decoded into the cache unless they are there already.

    The file has the name of a hash of the images' paths, sizes and times, and of how they are read;
    its own SHA-256 stands beside it, and is verified each time. Decoding that is interrupted goes
    on where it was; two processes do not decode the same images at a time.

    Args:
        files: The images, in the order of the rows.
        decode: The pixels of an image, uint8, of a shape that all have.
        shape: That of all pixels, (n, h, w) or (n, h, w, 3).
        how: In which mode and size they are read.

    Raises:
        InputError: An image cannot be read, or the cache cannot be written to.
    """
    from filelock import FileLock

    folder = _cache()
    key = _key(files, how)
    path, note = folder / f"{key}.npy", folder / f"{key}.json"
    writable_folder(folder)
    for part in folder.glob(".*.part*"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > WEEK:
                part.unlink()
    with FileLock(folder / f".{key}.lock"):
        if (rows := _verified(path, note)) is None:
            _decode(files, decode, shape, path)
            rows = read_npy(path, leave=0)
            record = {"images": len(files), "how": how, "pixels": sha256(rows)}
            write_whole(note, json.dumps(records.signed(record)) + "\n")
    assert isinstance(rows, Rows)
    return rows


def _cache() -> Path:
    import platformdirs

    return Path(platformdirs.user_cache_dir("dae_jax"), "images")


def _key(files: Sequence[Path], how: str) -> str:
    digest = hashlib.sha256(f"{VERSION} {how}\n".encode())
    for file in files:
        state = os.stat(file)
        digest.update(os.fsencode(os.path.abspath(file)))
        digest.update(f"\n{state.st_size} {state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:40]


def _verified(path: Path, note: Path) -> Rows | None:
    """The rows of a file in the cache; None if there is none, or it is damaged."""
    if not (os.path.isfile(path) and os.path.isfile(note)):
        return None
    try:
        record = records.verified(records.load(note, dict[str, Any]), str(note))
        rows = read_npy(path, leave=0)
    except InputError:
        return None
    if not isinstance(rows, Rows) or record.get("pixels") != sha256(rows):
        print(f"{path} is damaged: the images are decoded again")
        return None
    return rows


def _decode(
    files: Sequence[Path],
    decode: Callable[[Path], np.ndarray],
    shape: tuple[int, ...],
    path: Path,
) -> None:
    """Write the pixels of all images to a file, from where an earlier call ended."""
    part, done = path.with_name(f".{path.stem}.part"), path.with_name(f".{path.stem}.part.done")
    writable_folder(path.parent, int(np.prod(shape)))
    size = int(np.prod(shape[1:]))
    try:
        with open(part, "ab") as file:
            pass
        with open(part, "r+b") as file, open(done, "a+") as notes:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            begin = file.tell()
            file.flush()
            notes.seek(0)
            there = (os.fstat(file.fileno()).st_size - begin) // size
            noted = [int(n) for n in notes.read().split() if n.isdigit()]
            first = min(there, max(noted, default=0))
            if first:
                print(f"{first:,} of {len(files):,} images are decoded already")
            file.seek(begin + first * size)
            file.truncate()
            threads = size >= LARGE
            images = each_of(decode, files[first:], "decoding images", threads=threads)
            for last in range(first, len(files), CHUNK):
                some = list(islice(images, CHUNK))
                file.write(np.stack(some).tobytes())
                file.flush()
                os.fsync(file.fileno())
                notes.write(f"{last + len(some)}\n")
                notes.flush()
        os.replace(part, path)
        done.unlink()
    except OSError as error:
        raise unwritable(path, error) from error
