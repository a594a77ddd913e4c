"""IDX, .npy and .npz files are read as they were written; damaged or malicious ones are refused."""

import gzip
import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dae_jax.datasets import arrays as readers
from dae_jax.errors import InputError
from helpers import IDX_CODES, idx_bytes, refused_file


@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_of_every_type_are_read_in_native_order(tmp_path, dtype, zipped):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    # Compression is recognised by the content: the name does not tell.
    (tmp_path / "x.idx").write_bytes(
        gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    )
    read = readers.read_idx(tmp_path / "x.idx")
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_an_idx_file_longer_than_the_first_read_is_read_completely(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (30, 1000), dtype=np.uint8)
    (tmp_path / "x").write_bytes(gzip.compress(idx_bytes(array)))
    np.testing.assert_array_equal(readers.read_idx(tmp_path / "x"), array)


GOOD = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 20))
DAMAGED_IDX = {
    "a wrong magic": (b"\x01" + GOOD[1:], "01 00 08 02"),
    "an unknown type": (b"\0\0\x0a" + GOOD[3:], "00 00 0a"),
    "nothing": (b"", "empty"),
    "half a header": (GOOD[:7], "IDX"),
    "a missing byte": (GOOD[:-1], "claims 72"),
    "a byte too many": (GOOD + b"x", "more bytes"),
    "a missing byte, zipped": (gzip.compress(GOOD[:-1]), "fewer bytes"),
    "a byte too many, zipped": (gzip.compress(GOOD + b"x"), "more bytes"),
    "half a gzip stream": (gzip.compress(GOOD)[:-12], "IDX"),
    "a wrong gzip checksum": (gzip.compress(GOOD)[:-8] + b"\0" * 8, "CRC"),
    "broken deflate data": (gzip.compress(GOOD)[:10] + b"\xff" * 40, "IDX"),
    "garbage after gzip": (gzip.compress(GOOD) + b"garbage", "IDX"),
    "more axes than NumPy has": (b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"x", "IDX"),
}


@pytest.mark.parametrize("case", DAMAGED_IDX)
def test_an_idx_file_is_refused_with(tmp_path, case):
    content, word = DAMAGED_IDX[case]
    (tmp_path / "broken-idx").write_bytes(content)
    refused_file(readers.read_idx, tmp_path / "broken-idx", word)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_impossible_size_is_refused_before_the_values_are_read(tmp_path, zipped, monkeypatch):
    bomb = b"\0\0\x08\x02" + struct.pack(">2I", 2**31, 2**31) + b"x" * 100
    (tmp_path / "bomb").write_bytes(gzip.compress(bomb) if zipped else bomb)
    limits = []
    read = readers._read
    monkeypatch.setattr(readers, "_read", lambda s, limit: limits.append(limit) or read(s, limit))
    refused_file(readers.read_idx, tmp_path / "bomb", "claims 4611686018427387916")
    assert limits == [readers._HEADER_BYTES]


def test_no_more_than_the_limit_is_decompressed(tmp_path):
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(10_000_000)))
    assert len(readers.read_content(tmp_path / "bomb", 1000)) == 1001
    assert len(readers.read_content(tmp_path / "bomb", 10_000_000)) == 10_000_000


def test_a_folder_a_missing_file_and_a_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    refused_file(readers.read_idx, tmp_path / "pipe", "no such file")
    refused_file(readers.read_npy, tmp_path / "folder", "a folder")
    refused_file(readers.read_npz, tmp_path / "missing", "no such file")


def test_an_error_in_parsing_names_the_file():
    with pytest.raises(InputError, match=r"^train_images: "):
        readers.parse_idx(bytearray(GOOD[:-1]), "train_images")


def write_idx_folder(folder: Path, spelling: str = "{}-idx{}-ubyte", **counts: int) -> None:
    for part, n in counts.items():
        stem, _, rest = readers.IDX_NAMES[part].partition("-idx")
        array = np.zeros((n, 2, 2) if rest[0] == "3" else n, np.uint8)
        (folder / spelling.format(stem, rest[0])).write_bytes(idx_bytes(array))


@pytest.mark.parametrize(
    "spelling", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte.gz"]
)
def test_every_spelling_of_the_files_in_an_idx_folder_is_read(tmp_path, spelling):
    write_idx_folder(
        tmp_path, spelling, train_images=3, train_labels=3, test_images=2, test_labels=2
    )
    arrays = readers.read_idx_folder(tmp_path)
    assert {part: len(array) for part, array in arrays.items()} == {
        "train_images": 3, "train_labels": 3, "test_images": 2, "test_labels": 2
    }  # fmt: skip


def test_labels_and_test_set_may_be_missing_from_an_idx_folder(tmp_path):
    write_idx_folder(tmp_path, train_images=3)
    assert list(readers.read_idx_folder(tmp_path)) == ["train_images"]


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"train_labels": 3}, "train-images-idx3-ubyte"),
        ({"train_images": 3, "test_labels": 2}, "t10k-images-idx3-ubyte"),
        ({"train_images": 3, "train_labels": 2}, "train"),
        ({"train_images": 3, "test_images": 3, "test_labels": 2}, "test"),
    ],
)
def test_an_idx_folder_needs_images_and_one_label_for_each(tmp_path, counts, word):
    write_idx_folder(tmp_path, **counts)
    refused_file(readers.read_idx_folder, tmp_path, word)


def npy_bytes(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version)
    return stream.getvalue()


def npy_claiming(shape: str, descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header) + 1) + header + b"\n"


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.uint8).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3)),
        np.array([True, False]),
        np.array(["a", "bc"]),
        np.zeros((0, 4), np.float32),
        np.array(3.5),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_npy_and_npz_files_are_read_as_they_were_saved(tmp_path, array, version):
    (tmp_path / "x.npy").write_bytes(npy_bytes(array, version))
    np.savez_compressed(tmp_path / "x.npz", array)
    np.savez(tmp_path / "y.npz", x=array, y=array)
    read = [readers.read_npy(tmp_path / "x.npy"), readers.read_npz(tmp_path / "x.npz")["arr_0"]]
    for got in (*read, *readers.read_npz(tmp_path / "y.npz").values()):
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype.newbyteorder("=")
        assert got.flags.writeable


GOOD_NPY = npy_bytes(np.arange(6, dtype=np.float32))
DAMAGED_NPY = {
    "a wrong magic": b"not an array at all",
    "nothing": b"",
    "a missing byte": GOOD_NPY[:-1],
    "a byte too many": GOOD_NPY + b"x",
    "half a header": GOOD_NPY[:40],
    "an unknown version": GOOD_NPY[:6] + b"\x09" + GOOD_NPY[7:],
    "an impossible size": npy_claiming("(1000000000000,)"),
    "a negative size": npy_claiming("(-1,)"),
    "a malicious header": npy_claiming("(" * 500),
    "records": npy_claiming("(1,)", "[('a', '<f4')]") + bytes(4),
}


@pytest.mark.parametrize("case", DAMAGED_NPY)
def test_an_npy_array_is_refused_with(tmp_path, case):
    (tmp_path / "x.npy").write_bytes(DAMAGED_NPY[case])
    refused_file(readers.read_npy, tmp_path / "x.npy", ".npy array")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.npy", DAMAGED_NPY[case])
    refused_file(readers.read_npz, tmp_path / "x.npz", "[inner]")


class Harmful:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_object_arrays_are_refused_and_not_unpickled(tmp_path):
    array = np.array([Harmful(os.mkdir, str(tmp_path / "harm"))], dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", inner=array)
    refused_file(readers.read_npy, tmp_path / "x.npy", "pickle")
    refused_file(readers.read_npz, tmp_path / "x.npz", "[inner]")
    assert not (tmp_path / "harm").exists()


def zip_with_claimed_size(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", GOOD_NPY)
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def test_an_archive_that_claims_more_than_it_can_hold_is_refused(tmp_path):
    zip_with_claimed_size(tmp_path / "x.npz", 2**31)
    refused_file(readers.read_npz, tmp_path / "x.npz", "cannot hold")


def test_an_archive_whose_members_overlap_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy_bytes(np.zeros(1000)))
        archive.filelist += archive.filelist * 9
    refused_file(readers.read_npz, tmp_path / "x.npz", "cannot hold")


def test_an_archive_with_another_compression_method_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", GOOD_NPY)
    refused_file(readers.read_npz, tmp_path / "x.npz", "cannot hold")


def test_a_damaged_archive_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(1000))
    whole = (tmp_path / "x.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[500] ^= 1
    for content in (b"no zip", whole[:-50], whole[:4000] + whole[4010:], bytes(flipped)):
        (tmp_path / "x.npz").write_bytes(content)
        refused_file(readers.read_npz, tmp_path / "x.npz")


def test_files_other_than_arrays_in_an_archive_are_skipped(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", b"hello")
        archive.writestr("x.npy", GOOD_NPY)
    assert list(readers.read_npz(tmp_path / "x.npz")) == ["x"]
