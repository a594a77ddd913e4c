"""Readers of IDX, .npy and .npz files into plain NumPy arrays, safe against hostile files.

Nothing here runs code out of a file or sets aside memory that the file cannot fill: a header's
claim is compared with the bytes that are really there before anything is allocated.
"""

import gzip
import io
import math
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from dae_jax.errors import InputError

IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}

_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_HEADER_BYTES = 1 << 14  # The longest IDX header has 1,024 bytes; NumPy refuses one over 10,000.
_PIECE_BYTES = 1 << 22


class Header(NamedTuple):
    """What a file says of its array: the values begin at the offset, in bytes."""

    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int = 0

    @property
    def claimed_bytes(self) -> int:
        """How long the file must be."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def blaming(what: object, expected: str, do: str = "fetch or make it again") -> Iterator[None]:
    """Turn whatever a parser raises on a broken or hostile file into the error a user reads."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # A hostile file can make a parser raise anything.
        got = str(error) or type(error).__name__
        raise InputError(what, expected=expected, got=got, do=do) from error


@contextmanager
def _opened(path: str | os.PathLike, expected: str) -> Iterator[tuple[Any, int]]:
    """Open a file, to be unzipped if it begins like gzip, and bound the bytes it can hold."""
    with blaming(path, expected):
        if not os.path.isfile(path):  # Opening a pipe would wait for ever.
            raise ValueError("a folder" if os.path.isdir(path) else "no such file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield unzipped, _most_inflated(size)
            else:
                yield file, size


def _most_inflated(compressed_bytes: int) -> int:
    return 1032 * compressed_bytes + 1024  # The bound that zlib itself gives for deflate.


def _read(stream: Any, limit: int) -> bytearray:
    """Read at most limit + 1 bytes: one too many tells the caller that the stream is over-long."""
    content = bytearray()
    # In pieces, since read(n) sets n bytes aside at once, whether or not they ever come.
    while piece := stream.read(max(0, min(_PIECE_BYTES, limit + 1 - len(content)))):
        content += piece
    return content


def to_array(content: bytearray, header: Header) -> np.ndarray:
    """Give a file's content as the array that its header claims, in native byte order.

    Raises:
        ValueError: The content is not as long as that.
    """
    dtype, shape, order, offset = header
    if (excess := len(content) - header.claimed_bytes) != 0:
        size = "more" if excess > 0 else "fewer"
        raise ValueError(f"{size} bytes than the {header.claimed_bytes} for {shape} of {dtype}")
    array = np.ndarray(shape, dtype, content, offset, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _load(stream: Any, most: int, parse: Callable[[bytearray], Header]) -> np.ndarray:
    content = _read(stream, _HEADER_BYTES)
    header = parse(content)
    claimed = header.claimed_bytes
    if claimed > most:
        raise ValueError(f"a header that claims {claimed} bytes, where at most {most} can be")
    return to_array(content + _read(stream, claimed - len(content)), header)


def read_content(path: str | os.PathLike, limit: int) -> bytearray:
    """Read a file's content, unzipped where it is gzip, and never more than limit + 1 bytes.

    Args:
        path: Any file; gzip is told by its first two bytes, not by its name.
        limit: The most bytes wanted, at least 0.

    Returns:
        The content; limit + 1 bytes of it mean that it is longer than the limit.

    Raises:
        InputError: There is no such file, or it cannot be read, or its gzip stream is broken.
    """
    with _opened(path, "a complete, readable file") as (stream, _):
        return _read(stream, limit)


def _idx_header(head: bytearray) -> Header:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES:
        raise ValueError(f"first bytes {head[:4].hex(' ')}" if head else "an empty file")
    offset = 4 + 4 * head[3]
    shape = struct.unpack(f">{head[3]}I", head[4:offset])
    return Header(np.dtype(_IDX_DTYPES[head[2]]), shape, "C", offset)


def parse_idx(content: bytearray, what: object) -> np.ndarray:
    """Parse an unzipped IDX file, which errors call `what`; see read_idx."""
    with blaming(what, "a complete IDX file"):
        return to_array(content, _idx_header(content))


def read_idx(path: str | os.PathLike) -> np.ndarray:
    """Read an IDX file, plain or gzip.

    Two zero bytes, a byte for the type (08, 09, 0B-0E) and one for the rank; each size as 4 bytes;
    then the values, last index fastest; all big-endian (Y. LeCun, "The MNIST database").

    Args:
        path: The file.

    Returns:
        The array: uint8, int8, int16, int32, float32 or float64, in native byte order.

    Raises:
        InputError: The file is not IDX, or is shorter or longer than its header says, or is broken.
    """
    with _opened(path, "a complete IDX file") as (stream, most):
        return _load(stream, most, _idx_header)


def find_idx(path: str | os.PathLike) -> dict[str, Path]:
    """Find the files of IDX_NAMES in a folder; `.idx` for `-idx` and a final `.gz` will do."""
    found = {}
    for part, name in IDX_NAMES.items():
        for file in (name, f"{name}.gz", (dotted := name.replace("-idx", ".idx")), f"{dotted}.gz"):
            if Path(path, file).is_file():
                found.setdefault(part, Path(path, file))
    return found


def read_idx_folder(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read a folder of IDX files that are named like MNIST's; see find_idx and read_idx.

    Args:
        path: The folder, with train-images-idx3-ubyte and any of the other three.

    Returns:
        train_images (n, ...) and those of train_labels (n,), test_images and test_labels found.

    Raises:
        InputError: Images are missing, or not as many as labels, or a file is not as it should be.
    """
    arrays = {part: read_idx(file) for part, file in find_idx(path).items()}
    for part in ("train", "test"):
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None and (part == "train" or labels is not None):
            name = IDX_NAMES[f"{part}_images"]
            raise InputError(path, expected=f"a file {name}[.gz]", got="none", do="put it there")
        if images is not None and labels is not None and images.shape[:1] != labels.shape:
            expected, got = f"one label for each of {images.shape[:1]} images", str(labels.shape)
            do = "give images and labels of one set"
            raise InputError(f"{path} ({part})", expected=expected, got=f"labels {got}", do=do)
    return arrays


def _npy_header(head: bytearray) -> Header:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    first = version == (1, 0)
    parse = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = parse(stream)
    if dtype.kind not in "biufUS" or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} of {dtype}")
    return Header(dtype, shape, "F" if fortran else "C", stream.tell())


_NPY = "a complete .npy array of numbers or text (an object array is a pickle, which can run code)"


def read_npy(path: str | os.PathLike) -> np.ndarray:
    """Read an .npy file of numbers or text (numpy.lib.format, versions 1 and 2); never a pickle.

    Args:
        path: The file.

    Returns:
        The array, in native byte order.

    Raises:
        InputError: The file is not .npy, holds objects or records, or is not as long as it says.
    """
    with _opened(path, _NPY) as (stream, most):
        return _load(stream, most, _npy_header)


def read_npz(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read an .npz file: a zip archive of .npy files (numpy.savez), stored or deflated.

    Args:
        path: The file.

    Returns:
        The arrays by name.

    Raises:
        InputError: The file is no such archive, or read_npy would refuse one of its arrays.
    """
    arrays = {}
    with _opened(path, "a complete .npz archive") as (file, left), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            # Another method, or members that share their bytes, could inflate without a bound.
            left -= member.compress_size
            plain = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if not plain or left < 0 or member.file_size > _most_inflated(member.compress_size):
                raise ValueError(f"{member.filename}, which cannot hold what it claims to")
            if member.filename.endswith(".npy"):
                name = member.filename.removesuffix(".npy")
                with blaming(f"{path}[{name}]", _NPY), archive.open(member) as stream:
                    arrays[name] = _load(stream, member.file_size, _npy_header)
    return arrays
