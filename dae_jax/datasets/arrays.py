"""Read IDX, .npy and .npz files into NumPy arrays; safe for files that are not trusted.

No code from a file is run. The size in a header is compared with the size of the file and with the
memory that is free before any is allocated, so that no file can make its reader run out of memory.
"""

import gzip
import io
import math
import os
import re
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TextIO

import numpy as np

from dae_jax import memory
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows, Joined, Stored

__all__ = [
    "IDX_NAMES",
    "Header",
    "blaming",
    "check_unfolded",
    "find_idx",
    "find_shards",
    "lines",
    "natural_order",
    "parse_idx",
    "read_content",
    "read_idx",
    "read_idx_folder",
    "read_npy",
    "read_npz",
    "read_shards",
    "to_array",
]

IDX_NAMES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}
"""The names of MNIST's four IDX files."""

_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_HEADER_BYTES = 1 << 14  # An IDX header has at most 1,024 bytes; NumPy accepts at most 10,000.
_PIECE_BYTES = 1 << 22
_UNFOLDED, _RATIO = 1 << 28, 200  # see `check_unfolded`
_GUNZIP = "decompress it first, by gunzip"
_LINE = 1 << 24  # letters, of a table of a million columns


class Header(NamedTuple):
    """The header of an array file."""

    dtype: np.dtype
    """The type of the values, with their byte order."""
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    """``"C"`` if the last index varies fastest, ``"F"`` if the first one does."""
    offset: int = 0
    """The position of the first value in the file, in bytes."""

    @property
    def claimed_bytes(self) -> int:
        """The size that the file must have, header included."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def blaming(what: object, expected: str, do: str = "fetch or make it again") -> Iterator[None]:
    """Turn any exception of a parser into an InputError that names the file.

    Args:
        what: The file.
        expected: What the file should have been.
        do: A remedy.

    Raises:
        InputError: An exception was raised inside. An InputError passes unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # On a damaged or malicious file, a parser can raise anything.
        got = str(error) or type(error).__name__
        raise InputError(what, expected=expected, got=got, do=do) from error


class _Place(NamedTuple):
    """A file, and where an array file begins in it."""

    path: str | os.PathLike
    offset: int = 0


class _File(NamedTuple):
    """An open file, its size, and whether it is gzip and read through it."""

    stream: Any
    size: int
    zipped: bool = False


@contextmanager
def _opened(path: str | os.PathLike, expected: str) -> Iterator[_File]:
    """Open a file, through gzip if it begins like it."""
    with blaming(path, expected):
        if not os.path.isfile(path):  # Opening a pipe would block.
            raise ValueError("a folder" if os.path.isdir(path) else "no such file")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as unzipped:
                    yield _File(unzipped, size, zipped=True)
            else:
                yield _File(file, size)


def check_unfolded(what: object, n_bytes: int, compressed_bytes: int, do: str = _GUNZIP) -> None:
    """Check that a compressed file does not unfold to more than such files do in practice.

    Deflate makes up to 1,032 bytes of one, so that files of a few megabytes could fill any memory.
    256 MiB are allowed to any file, and more if they are at most 200 times its size; MNIST unfolds
    to 5 times its size.

    Args:
        what: The file, for the error.
        n_bytes: The bytes that it unfolds to, as it claims itself.
        compressed_bytes: Its size.
        do: A remedy.

    Raises:
        InputError: They are too many.
    """
    if n_bytes > _budget(compressed_bytes):
        raise InputError(
            what,
            expected=f"at most {_RATIO} times its {compressed_bytes:,} bytes when decompressed",
            got=f"{n_bytes:,} bytes or more",
            do=do,
        )


def _budget(compressed_bytes: int) -> int:
    return max(_UNFOLDED, _RATIO * compressed_bytes)


def _possible(compressed_bytes: int) -> int:
    return 1032 * compressed_bytes + 1024  # The limit of deflate, from zlib's documentation.


def lines(file: TextIO) -> Iterator[str]:
    """The lines of a text file, of which none is so long that it fills the memory.

    Raises:
        ValueError: One is.
    """
    while line := file.readline(_LINE):
        if len(line) == _LINE:
            raise ValueError(f"a line of {_LINE:,} letters or more")
        yield line


def _read(stream: Any, limit: int, content: bytearray | None = None) -> bytearray:
    """Read up to limit + 1 bytes; with one byte too many, the caller knows it is too long.

    Args:
        stream: The file.
        limit: The bytes.
        content: What was read before, which counts, and which the rest is added to.
    """
    whole = bytearray() if content is None else content
    # In pieces, since read(n) may allocate n bytes at once, even if the stream is shorter.
    while piece := stream.read(max(0, min(_PIECE_BYTES, limit + 1 - len(whole)))):
        whole += piece
    return whole


def _raise_excess(n_bytes: int, header: Header) -> None:
    """Refuse a file with so many bytes more, or fewer, than its header says."""
    size = "more" if n_bytes > 0 else "fewer"
    values = f"{header.shape} of {header.dtype}"
    raise ValueError(f"{size} bytes than the {header.claimed_bytes} for {values}")


def to_array(content: bytearray, header: Header) -> np.ndarray:
    """The array in a file's content, in native byte order.

    Args:
        content: The whole file, header included.
        header: Its header.

    Returns:
        The array, of the header's shape; it shares memory with the content where possible.

    Raises:
        ValueError: The content is shorter or longer than the header says.
    """
    dtype, shape, order, offset = header
    if excess := len(content) - header.claimed_bytes:
        _raise_excess(excess, header)
    array = np.ndarray(shape, dtype, content, offset, order=order)
    if dtype.isnative:
        return array
    return array.byteswap(inplace=True).view(dtype.newbyteorder("="))


def _load(
    file: _File,
    parse: Callable[[bytearray], Header],
    what: object,
    leave: float = math.inf,
    place: _Place | None = None,
) -> Any:
    """Read the array in a file, whose header is believed within bounds only.

    Args:
        file: The file.
        parse: Its header's parser.
        what: Its name, for errors.
        leave: Bytes from which on the array stays in the file; see `read_npy`.
        place: The file in which it can be read by position.
    """
    content = _read(file.stream, _HEADER_BYTES)
    header = parse(content)
    claimed, most = header.claimed_bytes, _possible(file.size) if file.zipped else file.size
    if claimed > most:
        raise ValueError(f"a header that claims {claimed} bytes in a file of at most {most}")
    if place is not None and _stays(header, leave):
        if claimed < most:
            _raise_excess(most - claimed, header)
        shape, offset = header.shape, place.offset + header.offset
        return Stored(place.path, offset, shape, header.dtype)
    if file.zipped:
        check_unfolded(what, claimed, file.size)
    memory.check(what, claimed, "give a part of it")
    return to_array(_read(file.stream, claimed, content), header)


def _stays(header: Header, leave: float) -> bool:
    """Whether an array stays in its file: large, and rows of numbers, one after another."""
    rows = len(header.shape) > 1 and header.order == "C" and header.dtype.kind in "biuf"
    return rows and header.claimed_bytes - header.offset >= leave


def read_content(path: str | os.PathLike, limit: int) -> bytearray:
    """Read a file, decompressed if it is gzip, up to a limit.

    Args:
        path: Any file. Gzip is recognised by its first two bytes, whatever the name.
        limit: The largest accepted number of bytes, at least 0.

    Returns:
        The content, or its first limit + 1 bytes if it is longer than the limit.

    Raises:
        InputError: The file does not exist, cannot be read, or is damaged gzip.
    """
    with _opened(path, "a complete, readable file") as file:
        most = min(limit, _budget(file.size)) if file.zipped else limit
        memory.check(path, min(most, file.size), "free some")
        content = _read(file.stream, most)
        if most < limit:
            check_unfolded(path, len(content), file.size)
        return content


def _idx_header(head: bytearray) -> Header:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES:
        raise ValueError(f"first bytes {head[:4].hex(' ')}" if head else "an empty file")
    offset = 4 + 4 * head[3]
    shape = struct.unpack(f">{head[3]}I", head[4:offset])
    return Header(np.dtype(_IDX_DTYPES[head[2]]), shape, "C", offset)


def parse_idx(content: bytearray, what: object) -> np.ndarray:
    """Parse the content of an IDX file; see `read_idx`.

    Args:
        content: The whole file, decompressed.
        what: The name of the file in errors.

    Returns:
        The array.

    Raises:
        InputError: As for `read_idx`.
    """
    with blaming(what, "a complete IDX file"):
        return to_array(content, _idx_header(content))


def read_idx(path: str | os.PathLike, leave: float = math.inf) -> AnyRows:
    """Read an IDX file, plain or gzip.

    The format: two zero bytes, one byte for the type (08, 09, 0B-0E), one for the number of axes,
    four for each size, then the values, last index fastest; all big-endian (Y. LeCun, "The MNIST
    database").

    Args:
        path: The file.
        leave: See `read_npy`.

    Returns:
        The array: uint8, int8, int16, int32, float32 or float64, in native byte order.

    Raises:
        InputError: The file is not IDX, is damaged, or is shorter or longer than its header says.
    """
    with _opened(path, "a complete IDX file") as file:
        return _load(file, _idx_header, path, leave, None if file.zipped else _Place(path))


def find_idx(path: str | os.PathLike) -> dict[str, Path]:
    """Find IDX files with MNIST's names in a folder.

    Args:
        path: The folder.

    Returns:
        The files by the keys of `IDX_NAMES`, those that exist. A name may have ``.idx`` instead of
        ``-idx``, and ``.gz`` at its end.
    """
    files = {}
    for part, name in IDX_NAMES.items():
        dotted = name.replace("-idx", ".idx")
        for spelling in (name, f"{name}.gz", dotted, f"{dotted}.gz"):
            if os.path.isfile(Path(path, spelling)):  # False where `Path.is_file` raises
                files.setdefault(part, Path(path, spelling))
    return files


def read_idx_folder(path: str | os.PathLike, leave: float = math.inf) -> dict[str, Any]:
    """Read a folder of IDX files with MNIST's names; see `find_idx` and `read_idx`.

    Args:
        path: The folder, with train-images-idx3-ubyte and any of the other three files.
        leave: See `read_npy`.

    Returns:
        The arrays by name: train_images, (n, ...), and, if their files exist, train_labels, (n,),
        test_images and test_labels.

    Raises:
        InputError: Images are missing, the numbers of images and labels differ, or a file cannot
            be read.
    """
    arrays = {part: read_idx(file, leave) for part, file in find_idx(path).items()}
    for part in ("train", "test"):
        images, labels = arrays.get(f"{part}_images"), arrays.get(f"{part}_labels")
        if images is None and (part == "train" or labels is not None):
            name = IDX_NAMES[f"{part}_images"]
            raise InputError(path, expected=f"a file {name}[.gz]", got="none", do="put it there")
        if images is not None and labels is not None and images.shape[:1] != labels.shape:
            expected, got = f"one label for each of {images.shape[:1]} images", str(labels.shape)
            do = "use images and labels of the same set"
            raise InputError(f"{path} ({part})", expected=expected, got=f"labels {got}", do=do)
    return arrays


def _npy_header(head: bytearray) -> Header:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    first = version == (1, 0)
    parse = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    with warnings.catch_warnings():  # of Python's parser, about a damaged header
        warnings.simplefilter("ignore")
        shape, fortran, dtype = parse(stream)
    if dtype.kind not in "biufUS" or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} of {dtype}")
    return Header(dtype, shape, "F" if fortran else "C", stream.tell())


_NPY = "a complete .npy array of numbers or text (an object array is a pickle, which can run code)"


def read_npy(path: str | os.PathLike, leave: float = math.inf) -> AnyRows:
    """Read an .npy file of numbers or text (numpy.lib.format, versions 1 and 2), without pickle.

    Args:
        path: The file.
        leave: Rows of numbers that are so many bytes in all, or more, stay in the file, if they are
            there one after another and uncompressed.

    Returns:
        The array, in native byte order; or its rows.

    Raises:
        InputError: The file is not .npy, holds objects or records, or is shorter or longer than
            its header says.
    """
    with _opened(path, _NPY) as file:
        return _load(file, _npy_header, path, leave, None if file.zipped else _Place(path))


def read_npz(path: str | os.PathLike, leave: float = math.inf) -> dict[str, Any]:
    """Read an .npz file: a zip archive of .npy files (numpy.savez), stored or deflated.

    Args:
        path: The file.
        leave: See `read_npy`.

    Returns:
        The arrays, or their rows, by name.

    Raises:
        InputError: The file is not such an archive, or `read_npy` would refuse one of its arrays.
    """
    arrays = {}
    expected = "a complete .npz archive"
    with _opened(path, expected) as (file, size, _), zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        unfolded, unclaimed = sum(member.file_size for member in members), size
        for member in members:
            # Other compression methods, and members that share their bytes, have no bound on the
            # size of their content.
            unclaimed -= member.compress_size
            supported = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            too_large = member.file_size > _possible(member.compress_size)
            if not supported or unclaimed < 0 or too_large:
                raise ValueError(f"{member.filename}, which cannot hold the size that it claims")
        check_unfolded(path, unfolded, size, "save it by numpy.savez, uncompressed")
        places = {member.filename: _place(path, file, member) for member in members}
        read = [m for m in members if m.file_size < leave or places[m.filename] is None]
        memory.check(path, sum(member.file_size for member in read), "give a part of it")
        for member in members:
            if member.filename.endswith(".npy"):
                name, place = member.filename.removesuffix(".npy"), places[member.filename]
                with blaming(f"{path}[{name}]", _NPY), archive.open(member) as stream:
                    opened = _File(stream, member.file_size)
                    arrays[name] = _load(opened, _npy_header, path, leave, place)
                    while stream.read(_PIECE_BYTES):  # to its end, where its checksum is compared
                        pass
    return arrays


def _place(path: str | os.PathLike, file: Any, member: zipfile.ZipInfo) -> _Place | None:
    """Where a member of a zip archive begins that is stored uncompressed; None if it is not.

    Its local header has 30 bytes, a name and an extra field, whose lengths are its last four bytes
    (PKWARE, APPNOTE.TXT, 4.3.7).
    """
    if member.compress_type != zipfile.ZIP_STORED:
        return None
    file.seek(member.header_offset + 26)
    name, extra = struct.unpack("<2H", file.read(4))
    return _Place(path, member.header_offset + 30 + name + extra)


def read_shards(path: str | os.PathLike, leave: float = math.inf) -> dict[str, Any]:
    """Read a folder of .npy files that are parts of one data set, in the order of their names.

    The order is that of numbers within names. Files whose names begin with ``x_train``, ``x_test``
    or ``x`` are images, and those beside them that begin with ``y_train``, ``y_test`` or ``y``,
    with the same endings, are their labels; if no name begins with an x, all are images.

    Args:
        path: The folder.
        leave: See `read_npy`; the bytes are those of all.

    Returns:
        The arrays, or their rows, by name: x_train, y_train, x_test, y_test, or x and y.

    Raises:
        InputError: Shards of different widths or types, labels without images, or a file that
            cannot be read.
    """
    files = sorted(find_shards(path), key=lambda file: natural_order(file.name))
    groups: dict[str, list[Path]] = {}
    # `isfile` is False where `stat` raises; `read_npy` will say why.
    whole = sum(os.path.getsize(file) for file in files if os.path.isfile(file))
    plain = not any(file.name.startswith("x") for file in files)
    for file in files:
        names = ("x_train", "y_train", "x_test", "y_test", "x", "y")
        name = next((n for n in names if file.name.startswith(n)), "")
        if plain or not name:
            if not plain:
                expected = "names that begin with x or y, as others here do"
                raise InputError(file, expected=expected, got=file.name, do="move it elsewhere")
            name = "x"
        groups.setdefault(name, []).append(file)
    return {
        name: _joined(Path(path), shards, 0 if whole >= leave and name[0] == "x" else math.inf)
        for name, shards in groups.items()
    }


def _joined(path: Path, files: Sequence[Path], leave: float) -> AnyRows:
    """Several arrays of one shape of rows and one type, as one."""
    each = [read_npy(file, leave) for file in files]
    for file, array in zip(files, each, strict=True):
        for what, own, first in (
            ("rows of shape", array.shape[1:], each[0].shape[1:]),
            ("rows of type", array.dtype, each[0].dtype),
        ):
            if own != first:
                expected = f"{what} {first}, as in {files[0].name}"
                raise InputError(file, expected=expected, got=own, do="prepare all alike")
    if all(isinstance(array, np.ndarray) for array in each):
        return np.concatenate(each)
    return Joined(each, str(path))


def find_shards(path: str | os.PathLike) -> list[Path]:
    """The .npy files of a folder, none if there is no such folder."""
    if not os.path.isdir(path):
        return []
    with blaming(path, "a folder that can be listed", "check its path and permissions"):
        return [p for p in Path(path).iterdir() if p.suffix == ".npy" and p.name[0] != "."]


def natural_order(name: str) -> tuple[list[str | tuple[int, str]], str]:
    """A sorting key that puts 2 before 10."""
    parts = re.split("([0-9]+)", name)  # numbers at odd places, of any length
    digits = [part.lstrip("0") for part in parts]
    return [(len(digits[i]), digits[i]) if i % 2 else part for i, part in enumerate(parts)], name
