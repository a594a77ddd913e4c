"""Images that are decoded once into the cache: order, resuming, damage, what changes."""

import os
import platform
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import datasets
from dae_jax.datasets import decoded, image_folder
from dae_jax.rows import Rows
from helpers import refused


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache, and chunks of ten images."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoded, "_cache", lambda: tmp_path / "cache")
    monkeypatch.setattr(decoded, "CHUNK", 10)
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path):
    """Forty-three images of two classes."""
    rng = np.random.default_rng(0)
    for i in range(43):
        path = tmp_path / "images" / "ab"[i % 3 == 0] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (4, 5), np.uint8)).save(path)
    return tmp_path / "images"


def assert_alike(one, other):
    assert one.class_names == other.class_names and one.image_shape == other.image_shape
    for a, b in zip(one.parts, other.parts, strict=True):
        assert a.images.shape == b.images.shape and a.images.dtype == b.images.dtype
        np.testing.assert_array_equal(a.images[:], b.images[:])
        np.testing.assert_array_equal(a.labels, b.labels)


def counted(monkeypatch, fail_at=None):
    """Count the images that are decoded; perhaps fail at one."""
    count, real = [], image_folder._pixels

    def pixels(path, mode, size):
        count.append(path)
        if len(count) == fail_at:
            raise ValueError("out of order")
        return real(path, mode, size)

    monkeypatch.setattr(image_folder, "_pixels", pixels)
    return count


@pytest.mark.parametrize("fraction", [None, 0.3])
def test_images_in_the_cache_are_those_in_memory_in_their_order(cache, folder, fraction):
    how = {"valid_fraction": fraction}
    there = datasets.load(folder, leave=0, **how)
    assert isinstance(there.train.images, Rows)
    assert_alike(there, datasets.load(folder, **how))


def test_they_are_decoded_once_and_again_if_one_has_changed(cache, folder, monkeypatch):
    count = counted(monkeypatch)
    datasets.load(folder, leave=0)
    datasets.load(folder, leave=0)
    assert len(count) == 43
    os.utime(folder / "a" / "1.png", (1, 1))
    datasets.load(folder, leave=0)
    assert len(count) == 86


def test_decoding_goes_on_where_it_was_interrupted(cache, folder, monkeypatch, capfd):
    with monkeypatch.context() as patched:
        counted(patched, fail_at=25)
        monkeypatch.setattr(decoded.console, "cores", lambda: 1)
        refused(lambda: datasets.load(folder, leave=0), "out of order", ".png")
    count = counted(monkeypatch)
    assert_alike(datasets.load(folder, leave=0), datasets.load(folder))
    assert "20 of 43 images are decoded already" in capfd.readouterr().out
    assert len(count) == 23 + 43  # the second time in memory
    assert not [path for path in cache.glob(".*.part*")]


@pytest.mark.parametrize("damage", ["a flipped bit", "cut off", "no note", "a damaged note"])
def test_a_damaged_cache_is_made_again(cache, folder, damage):
    datasets.load(folder, leave=0)
    (path,), (note,) = cache.glob("*.npy"), cache.glob("*.json")
    content = path.read_bytes()
    if damage == "a flipped bit":
        path.write_bytes(content[:-7] + bytes([content[-7] ^ 4]) + content[-6:])
    elif damage == "cut off":
        path.write_bytes(content[:-1])
    elif damage == "no note":
        note.unlink()
    else:
        note.write_text(note.read_text().replace("43", "44"))
    assert_alike(datasets.load(folder, leave=0), datasets.load(folder))
    assert path.read_bytes() == content


@pytest.mark.skipif(platform.system() == "Windows", reason="needs a limit of file sizes")
def test_no_room_in_the_cache_is_one_line(cache, folder, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    refused(lambda: datasets.load(folder, leave=0), "cannot write", "No space left", "cache")


def test_tiff_files_on_several_threads_leave_the_standard_error_as_it_was(cache, tmp_path, capfd):
    for i in range(30):
        path = Path(tmp_path, "tiffs", f"{i}.tif")
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 3), i, np.uint8)).save(path)
    images = datasets.load_whole(tmp_path / "tiffs", leave=0).train.images
    assert images[:][:, 0].tolist() == list(range(30))
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"
