"""Folders of images are read in every format and mode; an unreadable image is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax.datasets.image_folder import (
    IMAGE_SUFFIXES,
    image_names,
    read_image_folder,
    read_without_labels,
)
from helpers import refused, refused_file


def save(path: Path, values: np.ndarray, mode: str | None = None, **options) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)


def grey(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def test_a_folder_of_images_is_read_in_natural_order_without_labels(tmp_path):
    for i in (10, 2, 1):
        save(tmp_path / f"image{i}.png", grey(i))
    images, labels, names, notices = read_image_folder(tmp_path)
    assert images.shape == (3, 4, 6)
    assert images.dtype == np.uint8
    assert images[:, 0, 0].tolist() == [1, 2, 10]
    assert labels is None
    assert names is None
    assert notices == ()


def test_sub_folders_are_classes_in_natural_order(tmp_path):
    for name, value in (("10", 3), ("9", 1), ("9", 2)):
        save(tmp_path / name / f"{value}.png", grey(value))
    images, labels, names, _ = read_image_folder(tmp_path)
    assert names == ("9", "10")
    assert images[:, 0, 0].tolist() == [1, 2, 3]
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    assert labels.dtype == np.int32


def test_images_saved_in_colour_are_in_colour_even_if_their_pixels_are_grey(tmp_path):
    save(tmp_path / "a.png", grey(7), "RGB")
    save(tmp_path / "b.PNG", np.stack([grey(1), grey(2), grey(3)], axis=-1))
    images, *_ = read_image_folder(tmp_path)
    assert images.shape == (2, 4, 6, 3)
    assert images[0, 0, 0].tolist() == [7, 7, 7]
    assert images[1, 0, 0].tolist() == [1, 2, 3]


def test_images_saved_in_colour_are_read_as_grey_if_wanted(tmp_path):
    save(tmp_path / "a.png", grey(7), "RGB")
    save(tmp_path / "b.png", grey(8))
    save(tmp_path / "c.png", np.stack([grey(100), grey(200), grey(50)], axis=-1))
    images, *_ = read_image_folder(tmp_path, grey=True)
    assert images.shape == (3, 4, 6)
    # ITU-R 601-2, as Pillow documents it
    luma = round((299 * 100 + 587 * 200 + 114 * 50) / 1000)
    assert images[:, 0, 0].tolist() == [7, 8, luma]


@pytest.mark.parametrize(
    ("n_grey", "n_colour", "got"),
    [
        (3, 1, "got 3 grey and 1 in colour (c/0.png); pass --grey"),
        (1, 3, "got 3 in colour and 1 grey (g/0.png); pass --grey"),
        (2, 2, "got 2 grey and 2 in colour (c/0.png, c/1.png); pass --grey"),
        (7, 6, "(c/0.png, c/1.png, c/2.png, c/3.png, c/4.png, ...)"),
    ],
)
def test_a_mix_of_grey_and_colour_is_refused_with_the_names_of_the_fewer(
    tmp_path, n_grey, n_colour, got
):
    for folder, n, mode in (("g", n_grey, "L"), ("c", n_colour, "RGB")):
        for i in range(n):
            save(tmp_path / folder / f"{i}.png", grey(7), mode)
    refused_file(read_image_folder, tmp_path, "all grey or all in colour", got)
    words = "sort them"
    refused(lambda: read_image_folder(tmp_path, if_mixed=words), f"; {words}")


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


@pytest.mark.parametrize("size", [(0, 4), (-1, 4), (10**7, 10**7)])
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


# ---- sizes -----------------------------------------------------------------------------------


def test_images_that_are_enlarged_are_counted_with_their_size(tmp_path):
    for i, (height, width) in enumerate([(4, 6), (2, 9), (4, 6), (8, 8)]):
        save(tmp_path / f"{i}.png", grey(i, height, width))
    *_, notices = read_image_folder(tmp_path, (5, 5))
    line = "enlarged to 5 x 5, from 2 x 9 or more: 3 of 4 images of"
    assert notices == (f"{line} {tmp_path}",)
    for i in (1, 3):
        (tmp_path / f"{i}.png").unlink()
    *_, notices = read_image_folder(tmp_path, (5, 5))
    assert notices == (f"enlarged to 5 x 5, from 4 x 6: 2 of 2 images of {tmp_path}",)
    assert read_image_folder(tmp_path, (4, 6)).notices == ()


# ---- a CSV file of labels ----------------------------------------------------------------------


def listed(path: Path, **labels: str) -> Path:
    """Write images of values 0, 1, ... and a CSV file of their labels."""
    for i, name in enumerate(labels):
        save(path.parent / f"{name}.png", grey(i))
    lines = [f"{name}.png,{label}" for name, label in labels.items()]
    path.write_text("\n".join(["file,label", *lines]))
    return path


def test_images_have_the_labels_and_the_order_of_a_csv_file(tmp_path):
    path = listed(tmp_path / "labels.csv", b="10", a="9", c="10")
    images, labels, names, notices = read_image_folder(path)
    assert images[:, 0, 0].tolist() == [0, 1, 2]
    assert labels is not None
    assert labels.dtype == np.int32
    assert (labels.tolist(), names) == ([1, 0, 1], ("9", "10"))
    assert image_names(path) == ["b.png", "a.png", "c.png"]
    assert notices == ()


def test_a_mix_that_a_csv_file_lists_is_refused_with_names(tmp_path):
    path = listed(tmp_path / "labels.csv", b="x", a="y", c="y")
    save(tmp_path / "a.png", grey(1), "RGB")
    refused_file(read_image_folder, path, "2 grey and 1 in colour (a.png)")


def test_images_that_a_csv_file_does_not_list_are_counted_and_can_be_taken_without_labels(tmp_path):
    (folder := tmp_path / "my set").mkdir()
    path = listed(folder / "labels.csv", b="x", a="y")
    save(folder / "c.png", grey(50))
    save(folder / "d.png", grey(60))
    (line,) = read_image_folder(path).notices
    do = f"--unlabelled '{folder}'"
    assert line == f"2 images that labels.csv does not list are ignored, except by pretrain {do}"
    # what it advises works
    known = [folder / "a.png", folder / "b.png"]
    more = read_without_labels(folder, leave_out=known)
    assert more.images[:, 0, 0].tolist() == [50, 60]
    assert more.labels is None and more.class_names is None
    assert more.notices == (f"2 of 4 images of {folder} are left out: they have labels",)


def test_images_beside_the_listed_ones_of_several_folders_are_in_the_folder_above(tmp_path):
    for i, name in enumerate(("x/1", "x/2", "y/1", "y/2")):
        save(tmp_path / f"{name}.png", grey(i))
    path = tmp_path / "labels.csv"
    path.write_text("file,label\nx/1.png,x\ny/1.png,y\n")
    (line,) = read_image_folder(path).notices
    assert line.startswith("2 images that labels.csv") and line.endswith(f"--unlabelled {tmp_path}")
    known = [tmp_path / "x/1.png", tmp_path / "y/1.png"]
    images = read_without_labels(tmp_path, leave_out=known).images
    assert images[:, 0, 0].tolist() == [1, 3]
    save(tmp_path / "3.png", grey(9))  # now no folder has them all
    assert read_image_folder(path).notices == (
        "2 images that labels.csv does not list are ignored",
    )


def test_without_labels_the_images_of_a_folder_are_read_rather_than_its_sub_folders(tmp_path):
    save(tmp_path / "1.png", grey(1))
    save(tmp_path / "filters" / "2.png", grey(2))
    images, *_, notices = read_without_labels(tmp_path)
    assert images[:, 0, 0].tolist() == [1]
    assert notices == (f"sub-folders of {tmp_path} are not read",)
    one = read_without_labels(tmp_path / "1.png")
    assert one.images[:, 0, 0].tolist() == [1]
    refused_file(lambda p: read_without_labels(p, leave_out=[p / "1.png"]), tmp_path, "got 1 that")
    refused_file(read_without_labels, tmp_path / "filters" / "none", "can be listed")
