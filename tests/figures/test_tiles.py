"""`tile_raster_images` against a pixel-by-pixel oracle, and the files that figures become."""

import json

import numpy as np
import pytest
from PIL import Image

from dae_jax import figures
from dae_jax.errors import InputError
from dae_jax.figures import tile_raster_images

RNG = np.random.default_rng(0)


def oracle(X, img_shape, tile_shape, spacing, scale, pixel_values):
    """The tutorial's sheet, one image and one pixel at a time."""
    (h, w), (rows, columns), (gap_y, gap_x) = img_shape, tile_shape, spacing
    dtype = np.uint8 if pixel_values else X.dtype
    sheet = np.zeros(((h + gap_y) * rows - gap_y, (w + gap_x) * columns - gap_x), dtype)
    for i in range(min(len(X), rows * columns)):
        image = X[i].copy()
        if scale:
            image -= image.min()
            image *= 1.0 / (image.max() + 1e-8)
        top, left = (i // columns) * (h + gap_y), (i % columns) * (w + gap_x)
        for y in range(h):
            for x in range(w):
                value = image[y * w + x]
                sheet[top + y, left + x] = np.uint8(value * 255) if pixel_values else value
    return sheet


@pytest.mark.parametrize("n", [0, 1, 5, 6, 9])
@pytest.mark.parametrize("spacing", [(0, 0), (1, 1), (2, 3)])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("pixel_values", [True, False])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sheets_equal_the_oracle_to_the_byte(n, spacing, scale, pixel_values, dtype):
    X = RNG.uniform(size=(n, 4 * 3)).astype(dtype)
    if scale:
        X = X * 7 - 3  # only scaling makes these fit into bytes
    args = (4, 3), (2, 3), spacing, scale, pixel_values
    got = tile_raster_images(X, *args)
    want = oracle(X, *args)
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.tobytes() == want.tobytes()


def test_a_constant_image_is_black_and_not_a_division_by_zero():
    assert not tile_raster_images(np.full((1, 4), 0.7), (2, 2), (1, 1)).any()


@pytest.mark.parametrize("pixel_values", [True, False])
def test_channels_may_be_missing_black_or_opaque(pixel_values):
    red, alpha = RNG.uniform(size=(2, 3, 4)).astype(np.float32)
    args = (2, 2), (2, 2), (1, 1), True, pixel_values
    sheet = tile_raster_images((red, None, None, None), *args)
    assert sheet.shape == (5, 5, 4)
    assert sheet.dtype == (np.uint8 if pixel_values else np.float32)
    np.testing.assert_array_equal(sheet[..., 0], oracle(red, *args))
    assert not sheet[..., 1:3].any()
    assert (sheet[..., 3] == (255 if pixel_values else 1)).all()
    with_alpha = tile_raster_images((None, None, None, alpha), *args)
    np.testing.assert_array_equal(with_alpha[..., 3], oracle(alpha, *args))


def test_the_input_is_left_as_it_was():
    X = RNG.uniform(size=(3, 4))
    before = X.copy()
    tile_raster_images(X, (2, 2), (2, 2))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"img_shape": (2, 2, 1)}, "img_shape"),
        ({"tile_shape": (2,)}, "tile_shape"),
        ({"tile_spacing": (1, 1, 1)}, "tile_spacing"),
        ({"X": (None, None)}, "4 channels"),
        ({"X": np.ones((2, 5))}, "2 x 2 = 4, got 5"),
    ],
)
def test_wrong_shapes_are_named(change, told):
    arguments = {"X": np.ones((2, 4)), "img_shape": (2, 2), "tile_shape": (1, 2)} | change
    with pytest.raises(InputError, match=told):
        tile_raster_images(**arguments)


def test_the_filter_sheet_of_mnist_is_the_tutorials_289_pixels_square():
    W = RNG.normal(size=(784, 500)).astype(np.float32)
    sheet = figures.filter_sheet(W, (28, 28))
    assert sheet.shape == (289, 289)
    np.testing.assert_array_equal(sheet, oracle(W.T[:100], (28, 28), (10, 10), (1, 1), True, True))


def test_colour_filters_and_plain_vectors_are_drawn_too():
    W = RNG.normal(size=(4 * 5 * 3, 7))
    sheet = figures.filter_sheet(W, (4, 5, 3), (2, 4))
    assert sheet.shape == (9, 23, 4)
    first = sheet[:4, :5, :3]
    assert (first.min(), first.max()) in {(0, 254), (0, 255)}  # one stretch for all three colours
    assert figures.filter_sheet(W, None, (7, 1)).shape == (13, 60)


def test_the_comparison_has_a_row_a_unit_and_a_column_a_level():
    weights = [RNG.normal(size=(4, 6)).astype(np.float32) for _ in range(3)]
    sheet = figures.comparison_sheet(weights, (2, 2), n_units=5)
    assert sheet.shape == (5 * 3 - 1, 3 * 3 - 1)
    unit_4_level_1 = sheet[4 * 3 : 4 * 3 + 2, 3:5]
    alone = oracle(weights[1].T[4:5], (2, 2), (1, 1), (0, 0), True, True)
    np.testing.assert_array_equal(unit_4_level_1, alone)


def test_the_contact_sheet_is_not_stretched_but_clipped():
    clean = np.full((2, 4), 0.5)
    sheet = figures.contact_sheet(clean, clean + 2, clean - 2, (2, 2))
    assert sheet.shape == (8, 5)
    assert (sheet[0, 0], sheet[3, 0], sheet[6, 0]) == (127, 255, 0)


def test_png_says_how_it_was_made_and_holds_the_very_pixels(tmp_path):
    sheet = RNG.integers(0, 256, (9, 7), np.uint8)
    path = figures.save_png(tmp_path / "new" / "a.png", sheet, {"level": 0.3}, zoom=2)
    with Image.open(path) as image:
        assert json.loads(image.text["dae_jax"]) == {"level": 0.3}
        np.testing.assert_array_equal(np.asarray(image)[::2, ::2], sheet)
        assert image.size == (14, 18)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]  # no temporary file stays


@pytest.mark.parametrize("channels", [(), (4,)])
def test_gif_has_a_frame_a_sheet(tmp_path, channels):
    frames = []
    for i in range(3):
        sheet = np.full((8, 8, *channels), 80 * i, np.uint8)
        frames.append(figures.save_png(tmp_path / f"{i}.png", sheet, {}))
    path = figures.save_gif(tmp_path / "a.gif", frames)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0


def test_an_unwritable_place_is_one_line_and_leaves_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.png"):
        figures.save_png(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8), {})
    assert (tmp_path / "file").read_text() == "old"
