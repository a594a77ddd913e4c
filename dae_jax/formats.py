"""Readers of one file or folder each, into plain NumPy arrays, safe against hostile files.

Nothing here runs code out of a file or gives out memory that the file cannot fill: a header's claim
is compared with the bytes that are really there before anything is allocated.
"""

import gzip
import io
import math
import os
import pickle
import re
import struct
import warnings
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
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

# Pillow knows more formats than these, some of which start other programs (EPS): never guess them.
_IMAGE_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_IDX_DTYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_HEADER_BYTES = 1 << 14  # The longest IDX header has 1,024 bytes; NumPy refuses one over 10,000.
_PIECE_BYTES = 1 << 22
_LARGEST_PICKLE = 1 << 31
_LARGEST_FOLDER = 1 << 34


class _Header(NamedTuple):
    dtype: np.dtype
    shape: tuple[int, ...]
    order: Literal["C", "F"]
    offset: int  # Where the values begin, in bytes.

    def claimed_bytes(self) -> int:
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def _blaming(what: object, expected: str, do: str = "fetch or make it again") -> Iterator[None]:
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
    with _blaming(path, expected):
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


def _array(content: bytearray, header: _Header) -> np.ndarray:
    dtype, shape, order, offset = header
    if (excess := len(content) - header.claimed_bytes()) != 0:
        size = "more" if excess > 0 else "fewer"
        raise ValueError(f"{size} bytes than the {header.claimed_bytes()} for {shape} of {dtype}")
    array = np.ndarray(shape, dtype, content, offset, order=order)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _load(stream: Any, most: int, parse: Callable[[bytearray], _Header]) -> np.ndarray:
    content = _read(stream, _HEADER_BYTES)
    header = parse(content)
    claimed = header.claimed_bytes()
    if claimed > most:
        raise ValueError(f"a header that claims {claimed} bytes, where at most {most} can be")
    return _array(content + _read(stream, claimed - len(content)), header)


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


def _idx_header(head: bytearray) -> _Header:
    if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _IDX_DTYPES:
        raise ValueError(f"first bytes {head[:4].hex(' ')}" if head else "an empty file")
    offset = 4 + 4 * head[3]
    shape = struct.unpack(f">{head[3]}I", head[4:offset])
    return _Header(np.dtype(_IDX_DTYPES[head[2]]), shape, "C", offset)


def parse_idx(content: bytearray, what: object) -> np.ndarray:
    """Parse an unzipped IDX file, which errors call `what`; see read_idx."""
    with _blaming(what, "a complete IDX file"):
        return _array(content, _idx_header(content))


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


def _npy_header(head: bytearray) -> _Header:
    stream = io.BytesIO(head)
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"version {version} of the format")
    first = version == (1, 0)
    parse = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = parse(stream)
    if dtype.kind not in "biufUS" or min(shape, default=0) < 0:
        raise ValueError(f"shape {shape} of {dtype}")
    return _Header(dtype, shape, "F" if fortran else "C", stream.tell())


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
                with _blaming(f"{path}[{name}]", _NPY), archive.open(member) as stream:
                    arrays[name] = _load(stream, member.file_size, _npy_header)
    return arrays


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
            if not re.fullmatch("[biuf][1248]", code):
                raise ValueError(f"an array of type {code}")
        case _:
            raise ValueError("an array without a type")
    if isinstance(raw, _Call) and raw.name == "encode":  # How Python 3 writes bytes for Python 2.
        raw = raw.args[0]
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    if not isinstance(raw, bytes) or not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError("an array of unclear content")
    return _array(bytearray(raw), _Header(np.dtype(endian + code), shape, order, 0))


def read_pickle(path: str | os.PathLike) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """Read the tutorial's own mnist.pkl.gz, or one like it, running nothing that it holds.

    The pickle of ((train_x, train_y), (valid_x, valid_y), (test_x, test_y)), written by Python 2 or
    3, plain or gzip (deeplearning.net, "Getting started"). What it would have NumPy do is written
    down while unpickling, and read as data afterwards.

    Args:
        path: The file; at most 2 GiB when unzipped.

    Returns:
        The three pairs of arrays, of whatever shapes and types of number.

    Raises:
        InputError: The pickle holds, imports or calls anything else, or is broken or too long.
    """
    content = read_content(path, _LARGEST_PICKLE)
    expected = "a pickle of three pairs (images, labels) of NumPy arrays and nothing else"
    with _blaming(path, expected, "nothing was run; save the arrays as an .npz file"):
        if len(content) > _LARGEST_PICKLE:
            raise ValueError(f"more than {_LARGEST_PICKLE} bytes")
        pairs: Any = _Inert(io.BytesIO(content), encoding="latin1").load()
        match pairs:
            case [[_, _], [_, _], [_, _]]:
                return tuple((_unpickled(x), _unpickled(y)) for x, y in pairs)
        raise ValueError("something else")


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images and the folders right inside a folder, 2 before 10, no hidden ones."""
    with _blaming(folder, "a folder that can be listed", "check the path"):
        entries = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=_natural)
    images = [p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    return images, [p for p in entries if p.is_dir()]


def _image_header(path: Path) -> tuple[tuple[int, int], bool]:
    """Give an image's (height, width) as it is meant to be seen, and whether it is grey."""
    from PIL import Image

    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    with Image.open(path, formats=_IMAGE_FORMATS) as image:
        deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
        if image.mode[0] in "IF" and not deep:
            raise ValueError(f"32-bit values, of unknown range (mode {image.mode})")
        # A PNG would be decoded whole in search of an orientation that it hardly ever has.
        sought = image.format != "PNG" or "exif" in image.info
        width, height = image.size
        turned = sought and image.getexif().get(0x0112, 1) >= 5
        return (width, height) if turned else (height, width), deep or image.mode in (
            "1",
            "L",
            "LA",
        )


def _decoded(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path, formats=_IMAGE_FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] == "I":  # Pillow's own conversion clips 16 bits to 8.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # The mean of the pixels covered: a sharper filter rings, and would draw faint edges on a clean
    # background for the network to learn.
    return np.asarray(image.convert(mode).resize((size[1], size[0]), Image.Resampling.BOX))


def read_image_folder(
    path: str | os.PathLike, image_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None]:
    """Read a folder of images, with a sub-folder for each class or none at all.

    Files whose names end in none of IMAGE_SUFFIXES, and hidden ones, are skipped; names are in
    order, 2 before 10. EXIF orientation is honoured, transparency ignored, an animation stands for
    its first picture, and 16 bits are cut to the upper 8.

    Args:
        path: The folder.
        image_size: The (height, width) in pixels, at least 1, that all are stretched to; None for
            images that are of one size already.

    Returns:
        images, uint8 (n, h, w) in 0..255 if all are grey, else (n, h, w, 3); labels, int32 (n,),
        and the names of their classes, both None without sub-folders.

    Raises:
        InputError: There are no images, or images beside sub-folders, or a class without any; one
            is unreadable or suspiciously large; sizes differ and image_size is None.
    """
    from PIL import Image

    files, folders = _listed(Path(path))
    if files and folders:
        got = f"both {files[0].name} and the folder {folders[0].name}"
        do = "move one or the other away"
        raise InputError(path, expected="images, or folders of images", got=got, do=do)
    groups = [_listed(folder)[0] for folder in folders]
    for folder, group in zip(folders or [path], groups or [files], strict=True):
        if not group:
            expected = f"images ({' '.join(IMAGE_SUFFIXES)})"
            raise InputError(
                folder, expected=expected, got="none", do="put some there or remove it"
            )
    labels = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    files = files or [file for group in groups for file in group]

    readable, resize = "a readable image of 8 or 16 bits", "pass --image-size HEIGHT WIDTH"
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        sizes, greys = [], []
        for file in files:
            with _blaming(file, readable, "mend or remove it"):
                size, grey = _image_header(file)
            sizes.append(size)
            greys.append(grey)
            if image_size is None and size != sizes[0]:
                first, other = (f.relative_to(path) for f in (files[0], file))
                got = f"{first} of {sizes[0]} and {other} of {size} (height, width)"
                raise InputError(path, expected="images of one size", got=got, do=resize)
        size, channels = image_size or sizes[0], () if all(greys) else (3,)
        shape = (len(files), *size, *channels)
        if min(size) < 1 or math.prod(shape) > _LARGEST_FOLDER:
            expected = f"images of 1 to {_LARGEST_FOLDER} bytes in all"
            raise InputError(path, expected=expected, got=f"shape {shape}", do=resize)
        images = np.empty(shape, np.uint8)
        for i, file in enumerate(files):
            with _blaming(file, readable, "mend or remove it"):
                images[i] = _decoded(file, "RGB" if channels else "L", size)
    names = tuple(folder.name for folder in folders)
    return (images, labels, names) if folders else (images, None, None)
