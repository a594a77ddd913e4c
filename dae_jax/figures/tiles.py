"""Pictures, and a number beside each.

Images are NumPy arrays of bytes until they are saved; nothing here needs a plotting library.
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


def tile_raster_images(
    X: ArrayLike | tuple[ArrayLike | None, ...],
    img_shape: Sequence[int],
    tile_shape: Sequence[int],
    tile_spacing: Sequence[int] = (0, 0),
    scale_rows_to_unit_interval: bool = True,
    output_pixel_vals: bool = True,
) -> NDArray[Any]:
    """Lay flattened images out on a grid: the tutorial's function, with its results to the byte.

    Args:
        X: Images as rows, (n, height * width); the first ones are drawn, row by row, and tiles
            beyond the last image stay black. Or a 4-tuple of such arrays, the channels red, green,
            blue and alpha, in which ``None`` stands for black, or for opaque alpha.
        img_shape: (height, width) of an image.
        tile_shape: (rows, columns) of the grid.
        tile_spacing: Black pixels (below, beside) each tile, none at the outer edge.
        scale_rows_to_unit_interval: Stretch each image on its own to [0, 1].
        output_pixel_vals: Return bytes, 255 times the values, cut off; otherwise `X`'s own dtype.

    Returns:
        The sheet, (rows * (height + spacing) - spacing, likewise the width), of 4 channels if `X`
        is a tuple.

    Raises:
        InputError: Shapes that are no pairs, a tuple of other than four channels, rows of another
            size than `img_shape`.

    >>> tile_raster_images(np.eye(3, 4), (2, 2), (1, 3), tile_spacing=(1, 1)).shape
    (2, 8)
    """
    shapes = {"img_shape": img_shape, "tile_shape": tile_shape, "tile_spacing": tile_spacing}
    for name, value in shapes.items():
        if len(value) != 2:
            raise InputError(name, expected="a pair (vertical, horizontal)", got=value)
    if isinstance(X, tuple):
        if len(X) != 4:
            raise InputError("X", expected="4 channels (red, green, blue, alpha)", got=len(X))
        size = _sheet_shape(img_shape, tile_shape, tile_spacing)
        given = [np.asarray(channel) for channel in X if channel is not None]
        dtype = np.uint8 if output_pixel_vals else (given[0].dtype if given else float)
        sheet = np.zeros((*size, 4), dtype)
        sheet[..., 3] = 255 if output_pixel_vals else 1
        for i, channel in enumerate(X):
            if channel is not None:
                sheet[..., i] = tile_raster_images(
                    channel,
                    img_shape,
                    tile_shape,
                    tile_spacing,
                    scale_rows_to_unit_interval,
                    output_pixel_vals,
                )
        return sheet

    (height, width), (rows, columns) = img_shape, tile_shape
    images = np.asarray(X)[: rows * columns]
    size = math.prod(images.shape[1:])
    if size != height * width:
        raise InputError("X", expected=f"rows of {height} x {width} = {height * width}", got=size)
    images = images.reshape(len(images), size)
    if scale_rows_to_unit_interval:
        images = scale_to_unit_interval(images)
    dtype = np.uint8 if output_pixel_vals else images.dtype
    # Every tile owns the gap below and beside it; the sheet's outer gaps are cut off at the end.
    down, across = height + tile_spacing[0], width + tile_spacing[1]
    tiles = np.zeros((rows * columns, down, across), dtype)
    pixels = (images * 255 if output_pixel_vals else images).astype(dtype)
    tiles[: len(images), :height, :width] = pixels.reshape(-1, height, width)
    sheet = tiles.reshape(rows, columns, down, across).swapaxes(1, 2)
    out_height, out_width = _sheet_shape(img_shape, tile_shape, tile_spacing)
    return sheet.reshape(rows * down, columns * across)[:out_height, :out_width]


def scale_to_unit_interval(rows: ArrayLike, eps: float = 1e-8) -> NDArray[Any]:
    """Stretch each row to [0, 1]; a constant row becomes 0, for which `eps` is there."""
    array = np.asarray(rows)
    array = array - array.min(axis=1, keepdims=True)
    return array * (1.0 / (array.max(axis=1, keepdims=True) + eps))


def _sheet_shape(
    img_shape: Sequence[int], tile_shape: Sequence[int], tile_spacing: Sequence[int]
) -> list[int]:
    triples = zip(img_shape, tile_shape, tile_spacing, strict=True)
    return [(image + gap) * tiles - gap for image, tiles, gap in triples]


def tile(
    images: NDArray[Any], image_shape: Sequence[int] | None, tile_shape: tuple[int, int], **how: Any
) -> NDArray[np.uint8]:
    """`tile_raster_images` for grey images, colour images and plain vectors alike.

    Args:
        images: One flattened image a row.
        image_shape: (height, width), (height, width, 3), or None for vectors, drawn as strips.
        tile_shape: (rows, columns).
        **how: Passed on to `tile_raster_images`.
    """
    if image_shape is not None and len(image_shape) == 3:
        height, width, _ = image_shape
        if how.pop("scale_rows_to_unit_interval", True):
            images = scale_to_unit_interval(images)  # all channels of an image by the same factor
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
    """The tutorial's figure: the weights of the first hidden units, each a picture of its own.

    Args:
        W: Weights (n_visible, n_hidden).
        image_shape: See `tile`.
        tile_shape: (rows, columns); for MNIST the default gives 289 x 289 pixels.
    """
    return tile(np.asarray(W).T, image_shape, tile_shape, tile_spacing=(1, 1))


def comparison_sheet(
    weights: Sequence[ArrayLike], image_shape: Sequence[int] | None, n_units: int = 12
) -> NDArray[np.uint8]:
    """The same hidden units side by side, a column a corruption level, a row a unit.

    As figure 3 of Vincent et al. (ICML 2008): from the same initial weights, more noise makes the
    same unit look at more of the image.

    Args:
        weights: Weights (n_visible, n_hidden) of each level, in order.
        image_shape: See `tile`.
        n_units: How many units to draw, from the first on.
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
    """Three rows: originals in [0, 1], what the encoder saw of them, what came back."""
    rows = [np.clip(np.asarray(part), 0, 1) for part in (clean, corrupted, reconstructed)]
    return tile(
        np.concatenate(rows),
        image_shape,
        (3, len(rows[0])),
        tile_spacing=(1, 1),
        scale_rows_to_unit_interval=False,
    )


def save_png(path: Path, sheet: NDArray[np.uint8], about: Mapping[str, Any], zoom: int = 1) -> Path:
    """Save a sheet as a PNG that says, in its text chunk ``dae_jax``, how it was made.

    Args:
        path: Where to; its folder is made.
        sheet: Bytes (height, width) or (height, width, 4).
        about: The configuration, anything JSON can hold.
        zoom: Whole-number magnification without smoothing.
    """
    from PIL import Image, PngImagePlugin

    text = PngImagePlugin.PngInfo()
    text.add_text("dae_jax", json.dumps(about))
    buffer = io.BytesIO()
    enlarged = sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)
    Image.fromarray(enlarged).save(buffer, "png", pnginfo=text, optimize=True)
    return write_whole(path, buffer.getvalue())


def save_gif(path: Path, frames: Sequence[str | os.PathLike[str]], milliseconds: int = 120) -> Path:
    """Make an animation of saved sheets; the last one stays for two seconds, then it loops."""
    from PIL import Image

    images = []
    for frame in frames:
        with Image.open(frame) as image:
            images.append(image.convert("L" if image.mode == "L" else "RGB"))
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(images) - 1) + [2000]
    images[0].save(
        buffer, "gif", save_all=True, append_images=images[1:], duration=durations, loop=0
    )
    return write_whole(path, buffer.getvalue())
