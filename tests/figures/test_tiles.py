"""`tile_raster_images` against the tutorial's, and the files that figures are saved to."""

import json

import numpy as np
import pytest
from PIL import Image

from dae_jax import figures
from dae_jax.errors import InputError
from dae_jax.figures import tile_raster_images

RNG = np.random.default_rng(0)


def oracle_scale(image):
    """`scale_to_unit_interval` of the tutorial's utils.py, with the promotion of NumPy 1.

    There, a float32 scalar plus a Python float is a float64, and so is 1.0 divided by that. The
    product in place rounds this scalar to the type of the array.
    """
    assert image.dtype in (np.float32, np.float64)  # the original cannot scale integers in place
    image = image.copy()
    image -= image.min()
    factor = np.float64(1.0) / (np.float64(image.max()) + np.float64(1e-8))
    image *= image.dtype.type(factor)
    return image


def float32_scale(image):
    """The same formula with the promotion of NumPy 2: float32 throughout."""
    assert image.dtype == np.float32
    image = image - image.min()
    return image * (np.float32(1.0) / (image.max() + np.float32(1e-8)))


def oracle(X, img_shape, tile_shape, spacing, scale, pixel_values, scale_image=oracle_scale):
    """`tile_raster_images` of the tutorial's utils.py, one image at a time."""
    (h, w), (rows, columns), (gap_y, gap_x) = img_shape, tile_shape, spacing
    sheet_shape = (h + gap_y) * rows - gap_y, (w + gap_x) * columns - gap_x
    if isinstance(X, tuple):
        assert pixel_values  # the original asks a tuple for its dtype otherwise, and fails
        sheet = np.zeros((*sheet_shape, 4), np.uint8)
        for i, default in enumerate((0, 0, 0, 255)):
            sheet[:, :, i] = default
            if X[i] is not None:
                args = img_shape, tile_shape, spacing, scale, pixel_values, scale_image
                sheet[:, :, i] = oracle(X[i], *args)
        return sheet
    sheet = np.zeros(sheet_shape, np.uint8 if pixel_values else X.dtype)
    for row in range(rows):
        for column in range(columns):
            if row * columns + column < len(X):
                image = X[row * columns + column].reshape(img_shape)
                if scale:
                    image = scale_image(image)
                values = image * X.dtype.type(255) if pixel_values else image
                top, left = row * (h + gap_y), column * (w + gap_x)
                sheet[top : top + h, left : left + w] = values.astype(sheet.dtype)
    return sheet


def assert_same(got, want):
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    assert got.tobytes() == want.tobytes()


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
    assert_same(tile_raster_images(X, *args), oracle(X, *args))


def float32_rows() -> np.ndarray:
    """Rows of many scales, some of them constant: 10,000 images of 3 x 4."""
    rng = np.random.default_rng(1)
    X = np.concatenate([rng.uniform(size=(5000, 12)), rng.normal(size=(5000, 12))])
    X *= 10.0 ** rng.uniform(-9, 9, (len(X), 1))
    X[::50] = X[::50, :1]
    X[::100] = 0
    return X.astype(np.float32)


@pytest.mark.parametrize("pixel_values", [True, False])
def test_many_float32_images_equal_the_oracle_where_float32_throughout_does_not(pixel_values):
    X = float32_rows()
    args = (3, 4), (100, 100), (1, 1), True, pixel_values
    want = oracle(X, *args)
    assert_same(tile_raster_images(X, *args), want)
    naive = oracle(X, *args, scale_image=float32_scale)
    different = naive != want
    assert different.sum() > 100  # so the comparison above can fail
    if pixel_values:  # one grey level, in the brightest pixel of an image
        assert set(zip(naive[different], want[different], strict=True)) == {(255, 254), (254, 255)}


@pytest.mark.parametrize("scale", [True, False])
def test_channels_equal_the_oracle_where_float32_throughout_does_not(scale):
    X = float32_rows()
    red, blue, alpha = X[:3000], X[3000:6000], X[6000:9500]
    if not scale:
        red, blue, alpha = (np.clip(channel, 0, 1) for channel in (red, blue, alpha))
    args = (3, 4), (50, 60), (1, 2), scale, True
    for channels in ((red, None, blue, None), (None, red, None, alpha)):
        want = oracle(channels, *args)
        assert_same(tile_raster_images(channels, *args), want)
        if scale:
            assert (oracle(channels, *args, scale_image=float32_scale) != want).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("pixel_values", [True, False])
def test_integers_are_scaled_as_float64_and_otherwise_left_as_they_are(dtype, pixel_values):
    X = RNG.integers(0, 256, (7, 12)).astype(dtype)
    X[2] = 9
    args = (3, 4), (2, 4), (1, 1)
    scaled = tile_raster_images(X, *args, True, pixel_values)
    assert_same(scaled, oracle(X.astype(np.float64), *args, True, pixel_values))
    unscaled = tile_raster_images(X, *args, False, pixel_values)
    assert_same(unscaled, oracle(X, *args, False, pixel_values))


def test_a_constant_image_is_black_without_a_division_by_zero():
    assert not tile_raster_images(np.full((1, 4), 0.7), (2, 2), (1, 1)).any()


@pytest.mark.parametrize("pixel_values", [True, False])
def test_missing_channels_are_black_and_missing_alpha_is_opaque(pixel_values):
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


def test_the_input_is_not_changed():
    X = RNG.uniform(size=(3, 4))
    before = X.copy()
    tile_raster_images(X, (2, 2), (2, 2))
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"img_shape": (2, 2, 1)}, "img_shape"),
        ({"tile_shape": (2,)}, "tile_shape"),
        ({"tile_spacing": (1, 1, 1)}, "tile_spacing"),
        ({"X": (None, None)}, "4 channels"),
        ({"X": np.ones((2, 5))}, "2 x 2 = 4, got 5"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    arguments = {"X": np.ones((2, 4)), "img_shape": (2, 2), "tile_shape": (1, 2)} | change
    with pytest.raises(InputError, match=message):
        tile_raster_images(**arguments)


def test_the_filter_sheet_of_mnist_is_289_pixels_square_as_in_the_tutorial():
    W = RNG.normal(size=(784, 500)).astype(np.float32)
    sheet = figures.filter_sheet(W, (28, 28))
    assert sheet.shape == (289, 289)
    np.testing.assert_array_equal(sheet, oracle(W.T[:100], (28, 28), (10, 10), (1, 1), True, True))


def test_colour_filters_and_plain_vectors_are_drawn():
    W = RNG.normal(size=(4 * 5 * 3, 7))
    sheet = figures.filter_sheet(W, (4, 5, 3), (2, 4))
    assert sheet.shape == (9, 23, 4)
    first = sheet[:4, :5, :3]
    assert (first.min(), first.max()) in {(0, 254), (0, 255)}  # one factor for all three colours
    assert figures.filter_sheet(W, None, (7, 1)).shape == (13, 60)


def test_the_comparison_has_one_row_per_unit_and_one_column_per_level():
    weights = [RNG.normal(size=(4, 6)).astype(np.float32) for _ in range(3)]
    sheet = figures.comparison_sheet(weights, (2, 2), n_units=5)
    assert sheet.shape == (5 * 3 - 1, 3 * 3 - 1)
    unit_4_level_1 = sheet[4 * 3 : 4 * 3 + 2, 3:5]
    alone = oracle(weights[1].T[4:5], (2, 2), (1, 1), (0, 0), True, True)
    np.testing.assert_array_equal(unit_4_level_1, alone)


def test_the_contact_sheet_is_clipped_and_not_stretched():
    clean = np.full((2, 4), 0.5)
    sheet = figures.contact_sheet(clean, clean + 2, clean - 2, (2, 2))
    assert sheet.shape == (8, 5)
    assert (sheet[0, 0], sheet[3, 0], sheet[6, 0]) == (127, 255, 0)


def test_a_png_holds_the_exact_pixels_and_its_settings(tmp_path):
    sheet = RNG.integers(0, 256, (9, 7), np.uint8)
    path = figures.save_png(tmp_path / "new" / "a.png", sheet, {"level": 0.3}, zoom=2)
    with Image.open(path) as image:
        assert json.loads(image.text["dae_jax"]) == {"level": 0.3}
        np.testing.assert_array_equal(np.asarray(image)[::2, ::2], sheet)
        assert image.size == (14, 18)
    assert [p.name for p in path.parent.iterdir()] == ["a.png"]  # no temporary file is left


@pytest.mark.parametrize("channels", [(), (4,)])
def test_a_gif_has_one_frame_per_sheet(tmp_path, channels):
    frames = []
    for i in range(3):
        sheet = np.full((8, 8, *channels), 80 * i, np.uint8)
        frames.append(figures.save_png(tmp_path / f"{i}.png", sheet, {}))
    path = figures.save_gif(tmp_path / "a.gif", frames)
    with Image.open(path) as image:
        assert image.n_frames == 3
        assert image.info["loop"] == 0


def test_an_unwritable_folder_is_reported_in_one_line_and_the_old_file_is_kept(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match=r"cannot write .*file/a\.png"):
        figures.save_png(tmp_path / "file" / "a.png", np.zeros((2, 2), np.uint8), {})
    assert (tmp_path / "file").read_text() == "old"
