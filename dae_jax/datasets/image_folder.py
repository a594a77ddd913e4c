"""Folders of images, and of folders of them by class."""

import math
import os
import re
import warnings
from pathlib import Path

import numpy as np

from dae_jax.datasets.arrays import blaming
from dae_jax.errors import InputError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".pgm", ".ppm")

# Pillow knows more formats than these, some of which start other programs (EPS): never guess them.
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_LARGEST_BYTES = 1 << 34


def _natural(path: Path) -> tuple[list[str | int], str]:
    parts = re.split("([0-9]+)", path.name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], path.name


def _listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the images and the folders right inside a folder, 2 before 10, no hidden ones."""
    with blaming(folder, "a folder that can be listed", "check the path"):
        entries = sorted((p for p in folder.iterdir() if p.name[0] != "."), key=_natural)
    images = [p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    return images, [p for p in entries if p.is_dir()]


def _header(path: Path) -> tuple[tuple[int, int], bool]:
    """Give an image's (height, width) as it is meant to be seen, and whether it is grey."""
    from PIL import Image

    if path.stat().st_size == 0:
        raise ValueError("an empty file")
    with Image.open(path, formats=_FORMATS) as image:
        deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")
        if image.mode[0] in "IF" and not deep:
            raise ValueError(f"32-bit values, of unknown range (mode {image.mode})")
        # A PNG would be decoded whole in search of an orientation that it hardly ever has.
        sought = image.format != "PNG" or "exif" in image.info
        width, height = image.size
        turned = sought and image.getexif().get(0x0112, 1) >= 5
        grey = deep or image.mode in ("1", "L", "LA")
        return ((width, height) if turned else (height, width)), grey


def _decoded(path: Path, mode: str, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image, ImageOps

    with Image.open(path, formats=_FORMATS) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode[0] == "I":  # Pillow's own conversion clips 16 bits to 8.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    # The mean of the pixels covered: a sharper filter rings, and would draw faint edges on a clean
    # background for the network to learn.
    return np.asarray(image.convert(mode).resize((size[1], size[0]), Image.Resampling.BOX))


def _by_class(path: Path) -> tuple[list[Path], np.ndarray | None, tuple[str, ...] | None]:
    """List a folder's images with their labels and the classes' names, None without sub-folders."""
    if path.is_file():
        return [path], None, None
    files, folders = _listed(path)
    if files and folders:
        got = f"both {files[0].name} and the folder {folders[0].name}"
        do = "move one or the other away"
        raise InputError(path, expected="images, or folders of images", got=got, do=do)
    groups = [_listed(folder)[0] for folder in folders] or [files]
    for folder, group in zip(folders or [path], groups, strict=True):
        if not group:
            expected, do = f"images ({' '.join(IMAGE_SUFFIXES)})", "put some there or remove it"
            raise InputError(folder, expected=expected, got="none", do=do)
    if not folders:
        return files, None, None
    labels = np.repeat(np.arange(len(groups), dtype=np.int32), [len(group) for group in groups])
    return [file for group in groups for file in group], labels, tuple(f.name for f in folders)


def image_names(path: str | os.PathLike) -> list[str]:
    """The files that `read_image_folder` reads, relative to the folder, in its order.

    Raises:
        InputError: As `read_image_folder` does where the folder is not as it should be.
    """
    root = Path(path).parent if os.path.isfile(path) else Path(path)
    return [file.relative_to(root).as_posix() for file in _by_class(Path(path))[0]]


def read_image_folder(
    path: str | os.PathLike, image_size: tuple[int, int] | None = None
) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...] | None]:
    """Read a folder of images, with a sub-folder for each class or none at all.

    Files whose names end in none of IMAGE_SUFFIXES, and hidden ones, are skipped; names are in
    order, 2 before 10. EXIF orientation is honoured, transparency ignored, an animation stands for
    its first picture, and 16 bits are cut to the upper 8.

    Args:
        path: The folder, or a single image.
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

    files, labels, names = _by_class(Path(path))
    readable = {"expected": "a readable image of 8 or 16 bits", "do": "mend or remove it"}
    resize = "pass --image-size HEIGHT WIDTH"
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        sizes, greys = [], []
        for file in files:
            with blaming(file, **readable):
                size, grey = _header(file)
            sizes.append(size)
            greys.append(grey)
            if image_size is None and size != sizes[0]:
                first, other = (f.relative_to(path) for f in (files[0], file))
                got = f"{first} of {sizes[0]} and {other} of {size} (height, width)"
                raise InputError(path, expected="images of one size", got=got, do=resize)
        size, channels = image_size or sizes[0], () if all(greys) else (3,)
        shape = (len(files), *size, *channels)
        if min(size) < 1 or math.prod(shape) > _LARGEST_BYTES:
            expected = f"images of 1 to {_LARGEST_BYTES} bytes in all"
            raise InputError(path, expected=expected, got=f"shape {shape}", do=resize)
        images = np.empty(shape, np.uint8)
        for i, file in enumerate(files):
            with blaming(file, **readable):
                images[i] = _decoded(file, "RGB" if channels else "L", size)
    return images, labels, names
