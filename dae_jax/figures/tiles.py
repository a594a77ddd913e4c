"""Sheets of images and filters as NumPy arrays of bytes, and how to save them.

Nothing here needs a plotting library.
"""

import io
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dae_jax.errors import InputError
from dae_jax.files import write_whole

__all__ = [
    "comparison_sheet",
    "contact_sheet",
    "filter_sheet",
    "save_gif",
    "save_png",
    "scale_to_unit_interval",
    "tile",
    "tile_raster_images",
]


def tile_raster_images(
    X: ArrayLike | tuple[ArrayLike | None, ...],
    img_shape: Sequence[int],
    tile_shape: Sequence[int],
    tile_spacing: Sequence[int] = (0, 0),
    scale_rows_to_unit_interval: bool = True,
    output_pixel_vals: bool = True,
) -> NDArray[Any]:
    """Lay out flattened images on a grid, as the tutorial does, equal to the byte.

    The signature and the result are those of `tile_raster_images` in ``utils.py`` of the
    deeplearning.net tutorials.

    Args:
        X: Images, (n, height * width), drawn row by row of the grid. Images beyond the grid are
            left out; tiles without an image are black. Or a tuple of four such arrays, the
            channels red, green, blue and alpha: ``None`` is black, or opaque for alpha.
        img_shape: (height, width) of an image, in pixels.
        tile_shape: (rows, columns) of the grid.
        tile_spacing: Black pixels (below, beside) each tile, none at the outer edge.
        scale_rows_to_unit_interval: Stretch each image on its own to [0, 1].
        output_pixel_vals: Return 255 times the values, truncated to bytes; otherwise the values.

    Returns:
        The sheet, (rows * (height + spacing) - spacing, likewise for the width), with a last axis
        of 4 if `X` is a tuple.

    Raises:
        InputError: A shape is not a pair, a tuple does not have four channels, or the rows of `X`
            do not have height * width values.

    >>> tile_raster_images(np.eye(3, 4), (2, 2), (1, 3), tile_spacing=(1, 1)).shape
    (2, 8)
    """
    shapes = {"img_shape": img_shape, "tile_shape": tile_shape, "tile_spacing": tile_spacing}
    for name, value in shapes.items():
        if len(value) != 2:
            raise InputError(name, expected="a pair (vertical, horizontal)", got=value)
    sheet_shape = [
        (image + gap) * tiles - gap
        for image, tiles, gap in zip(img_shape, tile_shape, tile_spacing, strict=True)
    ]
    if isinstance(X, tuple):
        if len(X) != 4:
            raise InputError("X", expected="4 channels (red, green, blue, alpha)", got=len(X))
        given = {i: np.asarray(channel) for i, channel in enumerate(X) if channel is not None}
        value_dtype = next(iter(given.values())).dtype if given else float
        sheet = np.zeros((*sheet_shape, 4), np.uint8 if output_pixel_vals else value_dtype)
        sheet[..., 3] = 255 if output_pixel_vals else 1
        how = (tile_spacing, scale_rows_to_unit_interval, output_pixel_vals)
        for i, channel in given.items():
            sheet[..., i] = tile_raster_images(channel, img_shape, tile_shape, *how)
        return sheet

    (height, width), (rows, columns) = img_shape, tile_shape
    images = np.asarray(X)[: rows * columns]
    size = math.prod(images.shape[1:])
    if size != height * width:
        raise InputError("X", expected=f"rows of {height} x {width} = {height * width}", got=size)
    images = images.reshape(len(images), size)
    if scale_rows_to_unit_interval:
        images = scale_to_unit_interval(images)
    pixels = (images * 255).astype(np.uint8) if output_pixel_vals else images
    # Each tile includes the gap below and beside it; the gaps at the outer edge are cut off last.
    down, across = height + tile_spacing[0], width + tile_spacing[1]
    tiles = np.zeros((rows * columns, down, across), pixels.dtype)
    tiles[: len(images), :height, :width] = pixels.reshape(-1, height, width)
    sheet = tiles.reshape(rows, columns, down, across).swapaxes(1, 2)
    return sheet.reshape(rows * down, columns * across)[: sheet_shape[0], : sheet_shape[1]]


def scale_to_unit_interval(rows: ArrayLike, eps: float = 1e-8) -> NDArray[Any]:
    r"""Stretch each row to [0, 1]; a constant row becomes 0.

    .. math:: \frac{x - \min x}{\max (x - \min x) + \epsilon}

    The reciprocal of the denominator is taken in double precision and then rounded to the type of
    the rows, as in the tutorial's ``utils.py`` under NumPy 1. In float32 throughout, the brightest
    pixel of some images would differ by one grey level, 255 instead of 254 or the reverse.

    Args:
        rows: Images, (n, d).
        eps: Avoids a division by zero.

    Returns:
        (n, d), of the rows' own floating-point type, float64 for integers.
    """
    array = np.asarray(rows)
    array = array - array.min(axis=1, keepdims=True)
    # NumPy 1 promoted a float32 scalar plus a Python float to float64; NumPy 2 does not.
    spans = array.max(axis=1, keepdims=True).astype(np.float64)
    factors = 1.0 / (spans + eps)
    return array * factors.astype(np.result_type(array, 1.0))


def tile(
    images: NDArray[Any], image_shape: Sequence[int] | None, tile_shape: tuple[int, int], **how: Any
) -> NDArray[np.uint8]:
    """Apply `tile_raster_images` to grey images, colour images or plain vectors.

    Args:
        images: Flattened images, (n, d).
        image_shape: (height, width), (height, width, 3), or None for vectors, drawn as strips.
        tile_shape: (rows, columns) of the grid.
        **how: The other arguments of `tile_raster_images`. Scaling stretches the three colours of
            an image by the same factor.

    Returns:
        The sheet, with a last axis of 4 (red, green, blue, alpha) for colour images.
    """
    if image_shape is not None and len(image_shape) == 3:
        height, width, _ = image_shape
        if how.pop("scale_rows_to_unit_interval", True):
            images = scale_to_unit_interval(images)
        channels = np.asarray(images).reshape(len(images), height * width, 3)
        rgba = (*(channels[..., i] for i in range(3)), None)
        return tile_raster_images(
            rgba, (height, width), tile_shape, scale_rows_to_unit_interval=False, **how
        )
    height, width = image_shape if image_shape is not None else (1, images.shape[1])
    return tile_raster_images(images, (height, width), tile_shape, **how)


def filter_sheet(
    W: ArrayLike, image_shape: Sequence[int] | None, tile_shape: tuple[int, int] = (10, 10)
) -> NDArray[np.uint8]:
    """The tutorial's figure: the weights of the first hidden units, one image per unit.

    Args:
        W: Weights, (n_visible, n_hidden).
        image_shape: See `tile`.
        tile_shape: (rows, columns); for MNIST the default gives 289 x 289 pixels.

    Returns:
        The sheet, with gaps of 1 pixel.
    """
    return tile(np.asarray(W).T, image_shape, tile_shape, tile_spacing=(1, 1))


def comparison_sheet(
    weights: Sequence[ArrayLike], image_shape: Sequence[int] | None, n_units: int = 12
) -> NDArray[np.uint8]:
    """The same hidden units at several corruption levels: one row per unit, one column per level.

    As in figure 3 of Vincent et al. (ICML 2008): when the models start from the same initial
    weights, a unit's filter becomes less local with more noise.

    Args:
        weights: Weights (n_visible, n_hidden) of each level, in order.
        image_shape: See `tile`.
        n_units: How many units to draw, from the first on.

    Returns:
        The sheet, with gaps of 1 pixel.
    """
    units = [np.asarray(W).T[:n_units] for W in weights]
    by_unit = np.stack(units, axis=1).reshape(-1, units[0].shape[1])
    return tile(by_unit, image_shape, (len(units[0]), len(units)), tile_spacing=(1, 1))


def contact_sheet(
    clean: ArrayLike,
    corrupted: ArrayLike,
    reconstructed: ArrayLike,
    image_shape: Sequence[int] | None,
) -> NDArray[np.uint8]:
    """Three rows of images: the originals, their corrupted versions and the reconstructions.

    Args:
        clean: The originals, (n, d), in [0, 1]. Values outside are clipped, here and below.
        corrupted: The encoder's input, (n, d).
        reconstructed: The decoder's output, (n, d).
        image_shape: See `tile`.

    Returns:
        The sheet, with gaps of 1 pixel; the images are not stretched.
    """
    rows = [np.clip(np.asarray(part), 0, 1) for part in (clean, corrupted, reconstructed)]
    return tile(
        np.concatenate(rows),
        image_shape,
        (3, len(rows[0])),
        tile_spacing=(1, 1),
        scale_rows_to_unit_interval=False,
    )


def save_png(path: Path, sheet: NDArray[np.uint8], about: Mapping[str, Any], zoom: int = 1) -> Path:
    """Save a sheet as a PNG, with its settings as JSON in the text chunk ``dae_jax``.

    Args:
        path: The file; its folder is made if needed.
        sheet: Bytes, (height, width) or (height, width, 4).
        about: How the sheet was made: anything that JSON can hold.
        zoom: Whole-number magnification, without smoothing.

    Returns:
        The path.

    Raises:
        InputError: The file cannot be written.
    """
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("dae_jax", json.dumps(about))
    buffer = io.BytesIO()
    enlarged = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    Image.fromarray(enlarged).save(buffer, "png", pnginfo=text, optimize=True)
    return write_whole(path, buffer.getvalue())


def save_gif(path: Path, frames: Sequence[str | os.PathLike[str]], milliseconds: int = 120) -> Path:
    """Save an animation of saved sheets, which repeats after two seconds on the last sheet.

    Args:
        path: The file; its folder is made if needed.
        frames: The image files, in order.
        milliseconds: How long each frame but the last is shown.

    Returns:
        The path.

    Raises:
        InputError: A frame cannot be read, or the file not written.
    """
    from PIL import Image

    images = []
    for frame in frames:
        try:
            with Image.open(frame) as image:
                images.append(image.convert("L" if image.mode == "L" else "RGB"))
        except (OSError, SyntaxError, ValueError) as error:  # of Pillow, if it is damaged
            do = "leave --animate out, or start again in another --run-dir"
            raise InputError(f"cannot read {frame}: {error}", do=do) from error
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(images) - 1) + [2000]
    images[0].save(
        buffer, "gif", save_all=True, append_images=images[1:], duration=durations, loop=0
    )
    return write_whole(path, buffer.getvalue())
