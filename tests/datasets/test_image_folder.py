"""Folders of images are read in every format and mode; an unreadable image is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax.datasets.image_folder import IMAGE_SUFFIXES, read_image_folder
from helpers import refused_file


def save(path: Path, values: np.ndarray, mode: str | None = None, **options) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)


def grey(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def test_a_folder_of_images_is_read_in_natural_order_without_labels(tmp_path):
    for i in (10, 2, 1):
        save(tmp_path / f"image{i}.png", grey(i))
    images, labels, names = read_image_folder(tmp_path)
    assert images.shape == (3, 4, 6)
    assert images.dtype == np.uint8
    assert images[:, 0, 0].tolist() == [1, 2, 10]
    assert labels is None
    assert names is None


def test_sub_folders_are_classes_in_natural_order(tmp_path):
    for name, value in (("10", 3), ("9", 1), ("9", 2)):
        save(tmp_path / name / f"{value}.png", grey(value))
    images, labels, names = read_image_folder(tmp_path)
    assert names == ("9", "10")
    assert images[:, 0, 0].tolist() == [1, 2, 3]
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    assert labels.dtype == np.int32


def test_one_colour_image_makes_all_images_rgb(tmp_path):
    save(tmp_path / "a.png", grey(7))
    save(tmp_path / "b.PNG", np.stack([grey(1), grey(2), grey(3)], axis=-1))
    images, *_ = read_image_folder(tmp_path)
    assert images.shape == (2, 4, 6, 3)
    assert images[0, 0, 0].tolist() == [7, 7, 7]
    assert images[1, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", IMAGE_SUFFIXES)
def test_every_suffix_is_read(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    save(tmp_path / f"x{suffix.upper()}", grey(100), None, **options)
    images, *_ = read_image_folder(tmp_path)
    assert np.all(abs(images.astype(int) - 100) <= 1)


@pytest.mark.parametrize(("mode", "expected"), [("L", 200), ("LA", 200), ("1", 255)])
def test_every_grey_mode_of_8_bits_is_grey(tmp_path, mode, expected):
    save(tmp_path / "x.png", grey(200) | 55, mode)
    images, *_ = read_image_folder(tmp_path)
    assert images.ndim == 3
    assert images[0, 0, 0] == (expected if mode == "1" else 255)
    save(tmp_path / "x.png", grey(200), "LA" if mode == "LA" else None)
    assert read_image_folder(tmp_path)[0][0, 0, 0] == 200


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, name):
    save(tmp_path / name, np.array([[0, 300, 25600, 65535]], np.uint16))
    images, *_ = read_image_folder(tmp_path)
    assert images.tolist() == [[[0, 1, 100, 255]]]


def test_32_bit_values_of_unknown_range_are_refused(tmp_path):
    save(tmp_path / "x.tif", np.array([[0.5]], np.float32))
    refused_file(lambda path: read_image_folder(path.parent), tmp_path / "x.tif", "32-bit")


def test_images_of_different_sizes_need_an_image_size(tmp_path):
    save(tmp_path / "a.png", grey(1, 4, 6))
    save(tmp_path / "b.png", grey(2, 6, 4))
    refused_file(
        read_image_folder, tmp_path,
        "a.png of (4, 6)", "b.png of (6, 4)", "--image-size HEIGHT WIDTH",
    )  # fmt: skip
    images, *_ = read_image_folder(tmp_path, (3, 2))
    assert images.shape == (2, 3, 2)
    assert images[:, 0, 0].tolist() == [1, 2]


def test_resizing_takes_the_mean_of_the_pixels_covered(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 100], [100, 200]], np.uint8))
    assert read_image_folder(tmp_path, (1, 1))[0].tolist() == [[[100]]]


@pytest.mark.parametrize("size", [(0, 4), (-1, 4), (10**6, 10**6)])
def test_an_image_size_of_no_pixels_or_too_many_is_refused(tmp_path, size):
    save(tmp_path / "a.png", grey(1))
    refused_file(lambda path: read_image_folder(path, size), tmp_path, "--image-size")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_exif_orientation_is_applied(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.repeat(np.array([[0], [255]], np.uint8), 16, axis=1).repeat(8, axis=0)
    save(tmp_path / f"a.{suffix}", values[:, :8], exif=exif)
    images, *_ = read_image_folder(tmp_path)
    assert images.shape == (1, 8, 16)
    assert images[0, 0, 0] > 250
    assert images[0, 0, -1] < 5


def test_other_files_and_hidden_files_are_skipped(tmp_path):
    save(tmp_path / "a.png", grey(1))
    for name in ("README.txt", "Thumbs.db", ".hidden.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".git").mkdir()
    assert len(read_image_folder(tmp_path)[0]) == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"half", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_an_unreadable_image_among_readable_ones_is_named(tmp_path, content):
    save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[:900] if content == b"half" else content)
    message = refused_file(lambda path: read_image_folder(path.parent), tmp_path / "bad.png")
    assert content or "an empty file" in message


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "bomb.png", grey(0, 40, 40))
    for limit in (1000, 100):  # Pillow warns up to twice its limit and raises above that.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refused_file(lambda p: read_image_folder(p.parent), tmp_path / "bomb.png", "bomb")


def test_images_beside_sub_folders_are_refused(tmp_path):
    save(tmp_path / "a.png", grey(1))
    save(tmp_path / "cats" / "b.png", grey(1))
    refused_file(read_image_folder, tmp_path, "a.png", "cats")


def test_a_class_without_images_is_named(tmp_path):
    save(tmp_path / "cats" / "b.png", grey(1))
    (tmp_path / "dogs").mkdir()
    refused_file(lambda path: read_image_folder(path.parent), tmp_path / "dogs", "none")


def test_a_missing_folder_and_a_folder_without_images_are_refused(tmp_path):
    (tmp_path / "README.txt").write_text("hello")
    refused_file(read_image_folder, tmp_path, "none")
    refused_file(read_image_folder, tmp_path / "missing")
