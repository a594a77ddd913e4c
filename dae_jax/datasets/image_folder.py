"""Read image files: a folder of them, one sub-folder per class, or a CSV file of their labels."""

import logging
import math
import os
import shlex
import threading
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dae_jax import console, memory
from dae_jax.datasets.arrays import blaming, natural_order
from dae_jax.datasets.decoded import LARGE, decoded, each_of
from dae_jax.datasets.label_file import read_label_file, some
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows, Rows

__all__ = [
    "IMAGE_SUFFIXES",
    "LABELS_SUFFIX",
    "MIXED",
    "ImageFiles",
    "Left",
    "image_files",
    "image_names",
    "read_image_folder",
    "read_without_labels",
]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""The endings of image files, in lower case."""
LABELS_SUFFIX = ".csv"
"""The ending of a file of labels, in lower case."""

# Pillow would try its other formats too, and some of them start other programs (EPS).
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, height and width are exchanged
# A smaller file may claim so many pixels; a larger image needs a byte for as many as deflate can
# make of one, in black and white.
_FEW_PIXELS, _PIXELS_OF_A_BYTE = 1 << 24, 8 * 1032
_SCANNED_PIXELS = 1 << 32  # of a progressive JPEG, which usually has about ten scans
_ONE_AT_A_TIME = threading.Lock()  # of the threads, since they have one standard error
_RESIZE = "pass --image-size HEIGHT WIDTH"
MIXED = "pass --grey to read all as grey, or convert them"
"""Advice of the error about images that are neither all grey nor all in colour."""


class ImageFiles(NamedTuple):
    """Images that were files of their own, and what there is to say about them."""

    images: AnyRows
    """uint8 in 0..255, (n, h, w) if they are grey, else (n, h, w, 3)."""
    labels: np.ndarray | None
    """int32, (n,); or None."""
    class_names: tuple[str, ...] | None
    """The names of labels 0, 1, ...; None without labels."""
    notices: tuple[str, ...]
    """Lines for the user: images that were enlarged, or left out."""


class Left(NamedTuple):
    """When and how images stay in a file of pixels, in the cache."""

    bytes: float = math.inf
    """The bytes of all pixels from which on they do."""
    order: Callable[[int, int, np.ndarray | None], np.ndarray] | None = None
    """The order of the rows there, by the number of images, their bytes and labels; the usual one
    if None."""


def image_files(path: str | os.PathLike) -> list[Path]:
    """The files that `read_image_folder` reads, in its order.

    Args:
        path: See `read_image_folder`.

    Raises:
        InputError: As for `read_image_folder`, if there are no images, a mix of images and
            sub-folders, or a malformed CSV file.
    """
    return _found(Path(path))[0]


def image_names(path: str | os.PathLike) -> list[str]:
    """The names of `image_files`, relative to the folder, with forward slashes.

    Args:
        path: See `read_image_folder`.

    Raises:
        InputError: As for `image_files`.
    """
    return [file.relative_to(_root(Path(path))).as_posix() for file in image_files(path)]


def read_image_folder(
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
    *,
    if_mixed: str = MIXED,
    left: Left = Left(),  # noqa: B008  # immutable
) -> ImageFiles:
    """Read a folder of images, with or without one sub-folder per class, or a CSV file of labels.

    Of a folder, files with other endings than `IMAGE_SUFFIXES` and hidden files are skipped. Files
    and sub-folders are sorted by name, 2 before 10. The EXIF orientation is applied, transparency
    is ignored, only the first frame of an animation is read, and 16-bit values are reduced to their
    upper 8 bits.

    Args:
        path: The folder; a CSV file, see `label_file.read_label_file`, whose images keep its order;
            or a single image.
        image_size: (height, width) in pixels, at least 1, to which every image is stretched. None
            if all images have the same size already.
        grey: Whether to read images that are saved in colour as grey.
        if_mixed: What an error advises if some images are grey and some in colour.
        left: When they stay in a file of pixels; then they and the labels come in its order.

    Raises:
        InputError: There are no images, images beside sub-folders, a class without images, or a
            malformed CSV file; an image is unreadable or suspiciously large; sizes differ and
            `image_size` is None; or some images are grey, some in colour, and `grey` is False.
    """
    path = Path(path)
    files, labels, class_names = _found(path)
    arrange = left.order

    def order(n: int, n_bytes: int) -> np.ndarray:
        return np.arange(n) if arrange is None else arrange(n, n_bytes, labels)

    images, enlarged = _read(files, path, image_size, grey, if_mixed, left.bytes, order)
    unlisted = _unlisted(path, files) if _is_label_file(path) else []
    if isinstance(images, Rows) and labels is not None:
        labels = labels[order(len(files), images.nbytes)]
    return ImageFiles(images, labels, class_names, (*unlisted, *enlarged))


def read_without_labels(
    path: str | os.PathLike,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
    *,
    leave_out: Collection[Path] = (),
    if_mixed: str = MIXED,
    leave: float = math.inf,
) -> ImageFiles:
    """Read images as `read_image_folder` does, but without their labels.

    Of a folder with images, sub-folders are not read.

    Args:
        path: See `read_image_folder`, as for the other arguments.
        image_size: (height, width) in pixels, or None.
        grey: Whether to read images that are saved in colour as grey.
        leave_out: Files not to read.
        if_mixed: What an error advises if some images are grey and some in colour.
        leave: The bytes of all pixels from which on they stay in a file.

    Raises:
        InputError: As for `read_image_folder`, or no image is left.
    """
    path, notices = Path(path), []
    if os.path.isdir(path):
        found, folders = _listed(path)
        below = [file for folder in folders for file in _listed(folder)[0]]
        if found and below:
            notices.append(f"sub-folders of {path} are not read")
        found = found or below
    else:
        found = image_files(path)
    known = {file.resolve() for file in leave_out}
    files = [file for file in found if file.resolve() not in known] if known else found
    if not files:
        got = f"{len(found):,} that have labels" if found else "none"
        raise InputError(path, expected="images without labels", got=got, do="add some")
    if len(files) < len(found):
        n = len(found) - len(files)
        notices.append(f"{n:,} of {len(found):,} images of {path} are left out: they have labels")
    images, enlarged = _read(files, path, image_size, grey, if_mixed, leave)
    return ImageFiles(images, None, None, (*notices, *enlarged))


def _is_label_file(path: Path) -> bool:
    return path.name.lower().endswith(LABELS_SUFFIX) and os.path.isfile(path)


def _root(path: Path) -> Path:
    """The folder that the names of images are relative to."""
    return path.parent if os.path.isfile(path) else path


def _found(path: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """List the images with their labels and class names, None without labels."""
    if not _is_label_file(path):
        return _by_class(path)
    labels = read_label_file(path)
    class_names = tuple(sorted(set(labels.values()), key=natural_order))
    index = {name: i for i, name in enumerate(class_names)}
    indices = np.array([index[label] for label in labels.values()], np.int32)
    return [path.parent / name for name in labels], indices, class_names


def _unlisted(path: Path, files: Sequence[Path]) -> list[str]:
    """A line about images beside those that a CSV file lists, if there are any."""
    folders = {file.parent for file in files}
    others = {file for folder in folders for file in _listed(folder)[0]} - set(files)
    if not others:
        return []
    # --unlabelled takes one folder: that of all images, or the one of all their sub-folders.
    above = folders if len(folders) == 1 else {folder.parent for folder in folders}
    words = f"{len(others):,} images that {path.name} does not list are ignored"
    if len(above) == 1 and (len(folders) == 1 or not _listed(*above)[0]):
        words += f", except by pretrain --unlabelled {shlex.quote(str(above.pop()))}"
    return [words]


def _read(
    files: Sequence[Path],
    path: Path,
    image_size: tuple[int, int] | None,
    grey: bool,
    if_mixed: str,
    leave: float = math.inf,
    order: Callable[[int, int], np.ndarray] | None = None,
) -> tuple[AnyRows, list[str]]:
    """Read images; also a line about those that are enlarged, if there are any."""
    from PIL import Image

    with _pillow_silent():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # All headers are read first: a wrong size is found before the pixels are decoded.
        headers = list(each_of(_header, files, "reading headers"))
        sizes, greys = [size for size, _ in headers], [is_grey for _, is_grey in headers]
        names = [file.relative_to(_root(path)).as_posix() for file in files]
        size = image_size or _common_size(path, names, sizes)
        as_grey = grey or _all_grey(path, names, greys, if_mixed)
        shape = (len(files), *size) if as_grey else (len(files), *size, 3)
        if min(size) < 1:
            raise InputError(path, expected="images of at least 1 x 1", got=size, do=_RESIZE)
        # While one is decoded, Pillow and NumPy have four bytes each for every pixel.
        largest = max(map(math.prod, (*sizes, size)))
        less = "choose a smaller --image-size" if image_size else _RESIZE
        do, mode = f"{less} or give fewer images", "L" if as_grey else "RGB"
        one = partial(_decoded, mode=mode, size=size)
        threads = math.prod(shape[1:]) >= LARGE
        at_once = console.cores() if threads else 1
        if math.prod(shape) >= leave:
            memory.check(path, 8 * largest * at_once, do)
            which = range(len(files)) if order is None else order(len(files), math.prod(shape))
            ordered = [files[i] for i in which]
            images: AnyRows = decoded(ordered, one, shape, f"{mode} {size}")
        else:
            memory.check(path, math.prod(shape) + 8 * largest * at_once, do)
            images = np.empty(shape, np.uint8)
            for i, image in enumerate(each_of(one, files, "decoding images", threads=threads)):
                images[i] = image
    return images, _enlarged(path, sizes, size)


def _by_class(path: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """List the images of a folder with their labels and class names, None without sub-folders."""
    if os.path.isfile(path):
        return [path], None, None
    files, folders = _listed(path)
    if files and folders:
        got = f"both {files[0].name} and the folder {folders[0].name}"
        do = "move one or the other to another folder"
        raise InputError(path, expected="images, or folders of images", got=got, do=do)
    groups = [_listed(folder)[0] for folder in folders] or [files]
    for folder, group in zip(folders or [path], groups, strict=True):
        if not group:
            expected, do = f"images ({' '.join(IMAGE_SUFFIXES)})", "add some or remove the folder"
            raise InputError(folder, expected=expected, got="none", do=do)
    if not folders:
        return files, None, None
    labels = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    return [file for group in groups for file in group], labels, tuple(f.name for f in folders)


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images and the sub-folders directly in a folder, in order, without hidden ones."""
    with blaming(folder, "a folder that can be listed", "check its path and permissions"):
        entries = [p for p in folder.iterdir() if p.name[0] != "."]
        # That is refused for a folder whose names may be listed, but not opened.
        os.stat(os.path.join(folder, "."))
    entries.sort(key=lambda p: natural_order(p.name))
    # `Path.is_file` and `Path.is_dir` raise what those of os.path answer with False.
    images = [p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and os.path.isfile(p)]
    return images, [p for p in entries if os.path.isdir(p)]


def _common_size(
    path: Path, names: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> tuple[int, int]:
    """The (height, width) of all images."""
    for name, size in zip(names, sizes, strict=True):
        if size != sizes[0]:
            got = f"{names[0]} of {sizes[0]} and {name} of {size} (height, width)"
            raise InputError(path, expected="images of one size", got=got, do=_RESIZE)
    return sizes[0]


def _all_grey(path: Path, names: Sequence[str], greys: Sequence[bool], if_mixed: str) -> bool:
    """Whether all images are grey; an error names those that are not like the others."""
    n = sum(greys)
    if 0 < n < len(greys):
        odd = n < len(greys) - n  # whether the grey ones are fewer
        fewer = some([name for name, grey in zip(names, greys, strict=True) if grey == odd])
        grey, colour = f"{n:,} grey", f"{len(greys) - n:,} in colour"
        got = f"{colour} and {grey} ({fewer})" if odd else f"{grey} and {colour} ({fewer})"
        expected = "images that are all grey or all in colour"
        raise InputError(path, expected=expected, got=got, do=if_mixed)
    return n > 0


def _enlarged(path: Path, sizes: Sequence[tuple[int, int]], to: tuple[int, int]) -> list[str]:
    """A line about images that are smaller than they are read, if there are any."""
    smaller = [size for size in sizes if size[0] < to[0] or size[1] < to[1]]
    if not smaller:
        return []
    (h, w), more = min(smaller), " or more" if len(set(smaller)) > 1 else ""
    return [
        f"enlarged to {to[0]} x {to[1]}, from {h} x {w}{more}: {len(smaller):,} of "
        f"{len(sizes):,} images of {path}"
    ]


def _blaming_image(file: Path) -> AbstractContextManager[None]:
    return blaming(file, "a readable image of 8 or 16 bits", "repair or remove it")


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """The (height, width) of an image after the EXIF rotation, and whether it is grey."""
    with _blaming_image(path):
        return _size_and_grey(path)


def _size_and_grey(path: Path) -> tuple[tuple[int, int], bool]:
    from PIL import Image

    if (n_bytes := os.stat(path).st_size) == 0:
        raise ValueError("an empty file")
    with Image.open(path, formats=_FORMATS) as image:
        is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
        if image.mode[0] in "IF" and not is_16_bit:
            raise ValueError(f"32-bit values, of unknown range (mode {image.mode})")
        rotated = _may_be_rotated(image) and image.getexif().get(_ORIENTATION, 1) >= 5
        width, height = image.size
        if width * height > max(_FEW_PIXELS, _PIXELS_OF_A_BYTE * n_bytes):
            raise ValueError(f"{height} x {width} pixels in {n_bytes:,} bytes")
        if image.format == "JPEG":
            scans = path.read_bytes().count(b"\xff\xda")
            if width * height * scans > _SCANNED_PIXELS:
                raise ValueError(f"{scans:,} scans of {height} x {width} pixels")
        grey = is_16_bit or image.mode in ("1", "L", "LA")
        return ((width, height) if rotated else (height, width)), grey


def _may_be_rotated(image: Any) -> bool:
    """Whether to look for an orientation, which few PNG have, and which takes time to look for.

    In a PNG it is before the pixels or behind them, and is found when they are decoded.
    """
    return image.format != "PNG" or "exif" in image.info


def _decoded(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    """The pixels of an image, (h, w) or (h, w, 3)."""
    with _blaming_image(path):
        return _pixels(path, mode, size)


def _pixels(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path, formats=_FORMATS) as opened:
        with _libtiff_silent() if opened.format == "TIFF" else nullcontext():
            opened.load()
        if _may_be_rotated(opened):
            ImageOps.exif_transpose(opened, in_place=True)
        image: Image.Image = opened
        if image.mode[0] == "I":  # Pillow's own conversion would clip 16 bits to 8.
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.mode != mode:
            image = image.convert(mode)
        if image.size != (size[1], size[0]):
            # Averaging: sharper filters overshoot, and would add faint edges to a clean background.
            image = image.resize((size[1], size[0]), Image.Resampling.BOX)
        return np.asarray(image)


@contextmanager
def _pillow_silent() -> Iterator[None]:
    """Keep away what Pillow warns of and logs while it makes the best of a damaged image."""
    logger = logging.getLogger("PIL")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL + 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@contextmanager
def _libtiff_silent() -> Iterator[None]:
    """Keep the messages of libtiff from the terminal, which it writes to descriptor 2 itself."""
    with _ONE_AT_A_TIME:
        try:
            stderr = os.dup(2)
        except OSError:  # it is closed
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            os.close(nowhere)
