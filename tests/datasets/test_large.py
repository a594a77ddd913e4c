"""Data sets that stay in their files: the same parts as in memory, from every format."""

from pathlib import Path

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.datasets import loading
from dae_jax.datasets.arrays import IDX_NAMES, read_shards
from dae_jax.rows import Rows
from helpers import refused

RNG = np.random.default_rng(0)
X, Y = RNG.integers(0, 256, (60, 3, 4), np.uint8), RNG.integers(0, 3, 60).astype(np.int32)


def write_idx(path: Path, array: np.ndarray) -> None:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(head + array.tobytes())


def npy(folder: Path) -> Path:
    np.save(folder / "x.npy", X)
    return folder / "x.npy"


def npz(folder: Path) -> Path:
    np.savez(folder / "x.npz", x_train=X[:40], y_train=Y[:40], x_test=X[40:], y_test=Y[40:])
    return folder / "x.npz"


def floats(folder: Path) -> Path:
    np.savez(folder / "x.npz", x=(X / 255).astype(">f8"), y=Y)
    return folder / "x.npz"


def integers(folder: Path) -> Path:
    np.save(folder / "x.npy", X.astype(np.int64) * 3)
    return folder / "x.npy"


def idx_folder(folder: Path) -> Path:
    for part, array in (("train_images", X), ("train_labels", Y.astype(np.uint8))):
        write_idx(folder / IDX_NAMES[part], array)
    return folder


def shards(folder: Path) -> Path:
    for i, cut in enumerate((slice(0, 25), slice(25, 50), slice(50, 60)), 8):
        np.save(folder / f"x_{i}.npy", X[cut])
        np.save(folder / f"y_{i}.npy", Y[cut])
    return folder


def plain_shards(folder: Path) -> Path:
    for i in range(3):
        np.save(folder / f"part{i + 8}.npy", X[20 * i : 20 * i + 20])
    (folder / "README.txt").write_text("mine")
    return folder


KINDS = [npy, npz, floats, integers, idx_folder, shards, plain_shards]


@pytest.mark.parametrize("write", KINDS, ids=lambda write: write.__name__)
def test_the_parts_are_those_in_memory(tmp_path, write):
    path = write(tmp_path)
    there, here = datasets.load(path, leave=0), datasets.load(path)
    assert isinstance(there.train.images, Rows) and isinstance(here.train.images, np.ndarray)
    assert there[:2] == here[:2] and there.image_shape == here.image_shape == (3, 4)
    for a, b in zip(there.parts, here.parts, strict=True):
        assert a.images.dtype == b.images.dtype and a.images.shape == b.images.shape
        np.testing.assert_array_equal(a.images[:], b.images)
        assert (a.labels is None) == (b.labels is None)
        if a.labels is not None:
            np.testing.assert_array_equal(a.labels, b.labels)
    whole = there.in_memory()
    assert isinstance(whole.train.images, np.ndarray)
    np.testing.assert_array_equal(whole.train.images, here.train.images)


def test_shards_come_in_the_order_of_the_numbers_in_their_names(tmp_path):
    arrays = read_shards(shards(tmp_path))
    np.testing.assert_array_equal(arrays["x"], X)
    np.testing.assert_array_equal(arrays["y"], Y)


def test_small_files_and_those_that_are_compressed_are_read_into_memory(tmp_path):
    path = npz(tmp_path)
    assert isinstance(datasets.load(path, leave=10_000).train.images, np.ndarray)
    np.savez_compressed(tmp_path / "c.npz", x=X)
    assert isinstance(datasets.load(tmp_path / "c.npz", leave=0).train.images, np.ndarray)


def test_a_fortran_array_is_read_into_memory(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(X))
    images = datasets.load(tmp_path / "x.npy", leave=0).train.images
    assert isinstance(images, np.ndarray)


def test_of_large_data_few_are_held_out_and_each_image_is_in_one_part(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "LARGE", 100)
    monkeypatch.setattr(loading, "HELD_OUT", 4)
    np.savez(tmp_path / "x.npz", x=np.arange(1000).reshape(1000, 1), y=np.arange(1000) % 7)
    for leave in (0, np.inf):
        train, valid, test = datasets.load(tmp_path / "x.npz", leave=leave).parts
        assert (len(train.images), len(valid.images), len(test.images)) == (992, 4, 4)
        whole = np.concatenate([part.images[:] for part in (train, valid, test)])[:, 0]
        assert sorted(whole) == list(range(1000))
        labels = np.concatenate([train.labels, valid.labels, test.labels])
        np.testing.assert_array_equal(labels, whole % 7)
    valid = datasets.load(tmp_path / "x.npz", valid_fraction=0.2, leave=0).valid
    assert isinstance(valid.images, Rows) and len(valid.images) == 200


# ---- bad input -------------------------------------------------------------------------------


@pytest.mark.parametrize("leave", [0, np.inf])
def test_shards_that_are_not_alike_are_named(tmp_path, leave):
    np.save(tmp_path / "x_1.npy", X)
    np.save(tmp_path / "x_2.npy", X[:, :2])
    refused(lambda: datasets.load(tmp_path, leave=leave), "x_2.npy", "(3, 4)")
    np.save(tmp_path / "x_2.npy", X.astype(np.float32))
    refused(lambda: datasets.load(tmp_path, leave=leave), "x_2.npy", "uint8")


def test_shards_with_other_numbers_of_labels_or_none_are_refused(tmp_path):
    shards(tmp_path)
    np.save(tmp_path / "y_9.npy", Y[:3])
    refused(lambda: datasets.load(tmp_path, leave=0), "labels", "(60,)", "(38,)")
    np.save(tmp_path / "z.npy", Y)
    refused(lambda: datasets.load(tmp_path), "z.npy", "begin with x or y")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_file_of_another_size_than_its_header_says_is_refused(tmp_path, change):
    path = npy(tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[:change] if change < 0 else content + b"x")
    refused(lambda: datasets.load(path, leave=0), "x.npy", "bytes")


def test_a_flipped_bit_in_an_archive_is_found_before_training(tmp_path):
    path = npz(tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(X[20].tobytes())] ^= 1
    path.write_bytes(content)
    refused(lambda: datasets.load(path, leave=0), "x.npz[x_train]", "CRC")


def test_infinite_values_are_found_in_their_file(tmp_path, monkeypatch):
    monkeypatch.setattr(loading.rows, "PART_BYTES", 100)
    x = X.reshape(60, -1).astype(np.float32)
    x[57, 2] = np.inf
    np.save(tmp_path / "x.npy", x)
    refused(lambda: datasets.load(tmp_path / "x.npy", leave=0), "inf in image 57 at value 2")
    np.save(tmp_path / "x.npy", np.full_like(x, np.nan))
    refused(lambda: datasets.load(tmp_path / "x.npy", leave=0), "NaN alone")
