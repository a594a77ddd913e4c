"""Read a folder of images, or a folder with one sub-folder of images per class."""

import math
import os
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from dae_jax.datasets.arrays import blaming
from dae_jax.errors import InputError

__all__ = ["IMAGE_SUFFIXES", "image_names", "read_image_folder"]

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")
"""The endings of image files, in lower case."""

# Pillow would try its other formats too, and some of them start other programs (EPS).
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on, height and width are exchanged
_MAX_BYTES = 1 << 34
_RESIZE = "pass --image-size HEIGHT WIDTH"


def image_names(path: str | os.PathLike) -> list[str]:
    """The names of the files that `read_image_folder` reads, in its order.

    Args:
        path: The folder, or a single image.

    Returns:
        The names, relative to the folder, with forward slashes.

    Raises:
        InputError: As for `read_image_folder`, if there are no images or a mix of images and
            sub-folders.
    """
    root = Path(path).parent if os.path.isfile(path) else Path(path)
    return [file.relative_to(root).as_posix() for file in _by_class(Path(path))[0]]


def read_image_folder(
    path: str | os.PathLike, image_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None]:
    """Read a folder of images, with or without one sub-folder per class.

    Files with other endings than `IMAGE_SUFFIXES` and hidden files are skipped. Files and
    sub-folders are sorted by name, 2 before 10. The EXIF orientation is applied, transparency is
    ignored, only the first frame of an animation is read, and 16-bit values are reduced to their
    upper 8 bits.

    Args:
        path: The folder, or a single image.
        image_size: (height, width) in pixels, at least 1, to which every image is stretched. None
            if all images have the same size already.

    Returns:
        The images, uint8 in 0..255, (n, h, w) if all are grey, else (n, h, w, 3); their labels,
        int32, (n,); and the names of the classes. Labels and names are None without sub-folders.

    Raises:
        InputError: There are no images, images beside sub-folders, or a class without images; an
            image is unreadable or suspiciously large; or sizes differ and `image_size` is None.
    """
    from PIL import Image

    files, labels, class_names = _by_class(Path(path))
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # All headers are read first: a wrong size is found before the pixels are decoded.
        size, all_grey = _common_size(files, Path(path), image_size)
        shape = (len(files), *size) if all_grey else (len(files), *size, 3)
        if min(size) < 1 or math.prod(shape) > _MAX_BYTES:
            expected = f"images of 1 to {_MAX_BYTES} bytes in all"
            raise InputError(path, expected=expected, got=f"shape {shape}", do=_RESIZE)
        images = np.empty(shape, np.uint8)
        for i, file in enumerate(files):
            with _blaming_image(file):
                images[i] = _decoded(file, "L" if all_grey else "RGB", size)
    return images, labels, class_names


def _by_class(path: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """List the images of a folder with their labels and class names, None without sub-folders."""
    if path.is_file():
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
    with blaming(folder, "a folder that can be listed", "check the path"):
        entries = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=_natural_order)
    images = [p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    return images, [p for p in entries if p.is_dir()]


def _natural_order(path: Path) -> tuple[list[str | int], str]:
    """A sorting key that puts 2 before 10."""
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _common_size(
    files: Sequence[Path], path: Path, image_size: tuple[int, int] | None
) -> tuple[tuple[int, int], bool]:
    """The (height, width) to read all images in, and whether all of them are grey."""
    sizes, all_grey = [], True
    for file in files:
        with _blaming_image(file):
            size, grey = _header(file)
        sizes.append(size)
        all_grey = all_grey and grey
        if image_size is None and size != sizes[0]:
            first, other = (f.relative_to(path) for f in (files[0], file))
            got = f"{first} of {sizes[0]} and {other} of {size} (height, width)"
            raise InputError(path, expected="images of one size", got=got, do=_RESIZE)
    return image_size or sizes[0], all_grey


def _blaming_image(file: Path) -> AbstractContextManager[None]:
    return blaming(file, "a readable image of 8 or 16 bits", "repair or remove it")


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """The (height, width) of an image after the EXIF rotation, and whether it is grey."""
    from PIL import Image

    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    with Image.open(path, formats=_FORMATS) as image:
        is_16_bit = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
        if image.mode[0] in "IF" and not is_16_bit:
            raise ValueError(f"32-bit values, of unknown range (mode {image.mode})")
        # Pillow decodes a whole PNG to look for an orientation, which few of them have.
        may_be_rotated = image.format != "PNG" or "exif" in image.info
        rotated = may_be_rotated and image.getexif().get(_ORIENTATION, 1) >= 5
        width, height = image.size
        grey = is_16_bit or image.mode in ("1", "L", "LA")
        return ((width, height) if rotated else (height, width)), grey


def _decoded(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path, formats=_FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] == "I":  # Pillow's own conversion would clip 16 bits to 8.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # Averaging: sharper filters overshoot, and would add faint edges to a clean background.
    return np.asarray(image.convert(mode).resize((size[1], size[0]), Image.Resampling.BOX))
