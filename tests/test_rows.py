"""Rows that stay in their files or are computed, and the blocks of an epoch."""

import os
from itertools import pairwise

import numpy as np
import pytest

from dae_jax import rows
from dae_jax.datasets.arrays import read_npy
from dae_jax.rows import Computed, Joined, Rows, Selected, Without
from helpers import refused


@pytest.fixture
def stored(tmp_path):
    """Thirty rows of four numbers, in a file and in memory."""
    array = np.arange(120, dtype=np.int16).reshape(30, 2, 2)
    np.save(tmp_path / "x.npy", array)
    return read_npy(tmp_path / "x.npy", leave=0), array


def _half(x):
    return x.astype(np.float32) / 2


def every_kind(stored):
    """Rows of every kind, with the arrays that they stand for."""
    rows_of_file, array = stored
    flat, plain = rows_of_file.flat(np.int32), array.reshape(30, 4).astype(np.int32)
    chosen, left_out = np.array([0, 3, 4, 29]), np.array([0, 7, 8, 29])
    return {
        "stored": (flat, plain),
        "joined": (Joined([flat, plain[:3], flat]), np.concatenate([plain, plain[:3], plain])),
        "selected": (Selected(flat, chosen), plain[chosen]),
        "without": (Without(flat, left_out), np.delete(plain, left_out, axis=0)),
        "computed": (Computed(flat, _half, (30, 4)), _half(plain)),
    }


@pytest.mark.parametrize("kind", ["stored", "joined", "selected", "without", "computed"])
def test_rows_are_sliced_and_chosen_as_arrays_are(stored, kind):
    some, array = every_kind(stored)[kind]
    n = len(array)
    assert isinstance(some, Rows) and (len(some), some.shape, some.ndim) == (n, array.shape, 2)
    assert (some.size, some.nbytes) == (array.size, array.size * some.itemsize)
    for which in (
        *(slice(None), slice(1, 3), slice(2, 2), slice(-2, None), slice(None, None, -1)),
        *(0, -1, [2, 0, 2], np.array([n - 1, 0]), np.array([], int), np.arange(n) % 2 == 0),
    ):
        got = some[which]
        assert isinstance(got, np.ndarray) and got.dtype == some.dtype
        np.testing.assert_array_equal(got, array[which])
    np.testing.assert_array_equal(np.concatenate(list(rows.parts(some))), array)
    with pytest.raises(IndexError, match=f"{n} rows"):
        some[[0, n]]


def test_rows_of_several_members_are_those_of_the_second_axis():
    x = np.arange(12.0).reshape(6, 2)
    both = Computed(x, lambda x: np.stack([x, -x]), (2, 6, 2))
    assert len(both) == 6
    np.testing.assert_array_equal(both[2:4], np.stack([x[2:4], -x[2:4]]))
    np.testing.assert_array_equal(both[[5, 0]], np.stack([x[[5, 0]], -x[[5, 0]]]))


def test_rows_never_become_an_array_by_accident(stored):
    some, array = stored
    with pytest.raises(TypeError, match="not in memory"):
        np.asarray(some)
    np.testing.assert_array_equal(rows.in_memory(some), array)
    assert rows.in_memory(array) is array


def test_what_does_not_fit_into_memory_is_refused(stored, monkeypatch):
    monkeypatch.setattr(rows.memory, "available", lambda: 100)
    refused(lambda: rows.in_memory(stored[0], "x.npy"), "x.npy", "100 bytes", "240 bytes needed")


def test_big_endian_values_are_read_in_this_machines_order(tmp_path):
    array = np.arange(6, dtype=">f4").reshape(3, 2)
    np.save(tmp_path / "x.npy", array)
    some = read_npy(tmp_path / "x.npy", leave=0)
    assert isinstance(some, Rows) and some.dtype == np.float32 and some.dtype.isnative
    np.testing.assert_array_equal(some[:], array)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-1]), "another size or time"),
        (lambda path: os.utime(path, (1, 1)), "another size or time"),
    ],
)
def test_a_file_that_changes_or_vanishes_is_named(stored, change, word):
    some, _ = stored
    change(some.path)
    refused(lambda: some[:3], str(some.path), word, "back, and resume")


def test_a_block_that_has_other_numbers_than_before_is_refused(stored):
    some, array = stored
    places = rows.blocks(30, 5, 10)
    np.testing.assert_array_equal(some.block(*places[1]), array[10:20])
    before, time = some.checksums(places), os.stat(some.path)
    assert before[1] and not before[0] and not before[2]
    array[12] = 0
    np.save(some.path, array)
    os.utime(some.path, ns=(time.st_atime_ns, time.st_mtime_ns))
    refused(lambda: some.block(*places[1]), str(some.path), "rows 10 to 20", "resume")
    resumed = read_npy(some.path, leave=0)
    resumed.expect(places, before)
    resumed.block(*places[0])
    refused(lambda: resumed.block(*places[1]), "rows 10 to 20")


def test_statistics_are_those_of_an_array(stored, monkeypatch):
    monkeypatch.setattr(rows, "PART_BYTES", 64)
    some, array = every_kind(stored)["stored"]
    assert rows.bounds(some) == rows.bounds(array) == (0, 119)
    assert rows.sha256(some, array) == rows.sha256(np.concatenate([array, array]))
    holes = np.where(array % 7 == 0, np.nan, array).astype(np.float32)
    holes[3] = np.nan
    computed = Computed(some, lambda x: holes[x[:, 0] // 4], (30, 4))
    assert rows.bounds(computed) == (1, 118)
    assert rows.missing(computed) == np.isnan(holes).sum() and rows.missing(some) == 0


@pytest.mark.parametrize(("n", "batch", "size"), [(1000, 20, 300), (101, 10, 10), (50, 7, 49)])
def test_blocks_are_nearly_equal_and_lose_only_the_remainder_of_the_epoch(n, batch, size):
    found = rows.blocks(n, batch, size)
    sizes = [last - first for first, last in found]
    assert found[0][0] == 0 and all(a[1] == b[0] for a, b in pairwise(found))
    assert max(sizes) <= size and n - found[-1][1] < batch
    assert sum(own // batch for own in sizes) == n // batch
    assert all(own % batch == 0 for own in sizes[:-1])
    assert max(sizes[:-1], default=0) - min(sizes[:-1], default=0) == 0


def test_no_size_or_a_large_one_is_one_block():
    assert rows.blocks(100, 10, None) == rows.blocks(100, 10, 100) == [(0, 100)]


def test_a_reader_keeps_a_block_until_the_one_after_the_next(stored):
    some, array = stored
    flat = array.reshape(30, 4)
    places = rows.blocks(30, 5, 10)
    reader = rows.Reader([some.flat(np.int16), flat], places)
    read = []
    for block in (0, 2, 1, 0):
        own, plain = reader.read(block)
        assert own.ctypes.data % 64 == 0
        np.testing.assert_array_equal(own, plain)
        read.append(own)
        for earlier, of in zip(read[-2:], (0, 2, 1, 0)[max(0, len(read) - 2) :], strict=False):
            np.testing.assert_array_equal(earlier, flat[slice(*places[of])])
    assert read[0].ctypes.data == read[2].ctypes.data != read[1].ctypes.data
