"""Every reader reads what NumPy and Pillow write, and refuses what is broken or hostile."""

import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import formats
from dae_jax.errors import InputError

IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array: np.ndarray) -> bytes:
    code = IDX_CODES[array.dtype.str[1:]]
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    return (
        bytes([0, 0, code, array.ndim])
        + sizes
        + array.astype(array.dtype.newbyteorder(">")).tobytes()
    )


def refused(read, path: Path, *words: str) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in (path.name, *words):
        assert word in message
    return message


@pytest.mark.parametrize("dtype", IDX_CODES)
@pytest.mark.parametrize("zipped", [False, True])
def test_idx_files_of_every_type_are_read_in_native_order(tmp_path, dtype, zipped):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    # The name says nothing about the compression, on purpose.
    (tmp_path / "x.idx").write_bytes(
        gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array)
    )
    read = formats.read_idx(tmp_path / "x.idx")
    assert read.dtype == np.dtype(dtype)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_an_idx_file_larger_than_one_header_read_is_read_whole(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (30, 1000), dtype=np.uint8)
    (tmp_path / "x").write_bytes(gzip.compress(idx_bytes(array)))
    np.testing.assert_array_equal(formats.read_idx(tmp_path / "x"), array)


GOOD = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 20))
BROKEN_IDX = {
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
    "garbage behind gzip": (gzip.compress(GOOD) + b"garbage", "IDX"),
    "more ranks than NumPy has": (b"\0\0\x08\xff" + struct.pack(">255I", *[1] * 255) + b"x", "IDX"),
}


@pytest.mark.parametrize("case", BROKEN_IDX)
def test_an_idx_file_is_refused_with(tmp_path, case):
    content, word = BROKEN_IDX[case]
    (tmp_path / "broken-idx").write_bytes(content)
    refused(formats.read_idx, tmp_path / "broken-idx", word)


@pytest.mark.parametrize("zipped", [False, True])
def test_an_impossible_claim_is_refused_before_anything_is_read(tmp_path, zipped, monkeypatch):
    bomb = b"\0\0\x08\x02" + struct.pack(">2I", 2**31, 2**31) + b"x" * 100
    (tmp_path / "bomb").write_bytes(gzip.compress(bomb) if zipped else bomb)
    limits = []
    read = formats._read
    monkeypatch.setattr(formats, "_read", lambda s, limit: limits.append(limit) or read(s, limit))
    refused(formats.read_idx, tmp_path / "bomb", "claims 4611686018427387916")
    assert limits == [formats._HEADER_BYTES]


def test_no_more_than_is_claimed_is_unzipped(tmp_path):
    (tmp_path / "bomb").write_bytes(gzip.compress(bytes(10_000_000)))
    assert len(formats.read_content(tmp_path / "bomb", 1000)) == 1001
    assert len(formats.read_content(tmp_path / "bomb", 10_000_000)) == 10_000_000


def test_a_folder_a_missing_file_and_a_pipe_are_no_files(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    refused(formats.read_idx, tmp_path / "pipe", "no such file")
    refused(formats.read_npy, tmp_path / "folder", "a folder")
    refused(formats.read_npz, tmp_path / "missing", "no such file")


def test_parsing_idx_names_what_it_parses():
    with pytest.raises(InputError, match=r"^train_images: "):
        formats.parse_idx(bytearray(GOOD[:-1]), "train_images")


def write_idx_folder(folder: Path, spelling: str = "{}-idx{}-ubyte", **counts: int) -> None:
    for part, n in counts.items():
        stem, _, rest = formats.IDX_NAMES[part].partition("-idx")
        array = np.zeros((n, 2, 2) if rest[0] == "3" else n, np.uint8)
        (folder / spelling.format(stem, rest[0])).write_bytes(idx_bytes(array))


@pytest.mark.parametrize(
    "spelling", ["{}-idx{}-ubyte", "{}.idx{}-ubyte", "{}-idx{}-ubyte.gz", "{}.idx{}-ubyte.gz"]
)
def test_idx_folders_are_read_however_their_files_are_spelled(tmp_path, spelling):
    write_idx_folder(
        tmp_path, spelling, train_images=3, train_labels=3, test_images=2, test_labels=2
    )
    arrays = formats.read_idx_folder(tmp_path)
    assert {part: len(array) for part, array in arrays.items()} == {
        "train_images": 3, "train_labels": 3, "test_images": 2, "test_labels": 2
    }  # fmt: skip


def test_labels_and_tests_may_be_missing_from_an_idx_folder(tmp_path):
    write_idx_folder(tmp_path, train_images=3)
    assert list(formats.read_idx_folder(tmp_path)) == ["train_images"]


@pytest.mark.parametrize(
    ("counts", "word"),
    [
        ({"train_labels": 3}, "train-images-idx3-ubyte"),
        ({"train_images": 3, "test_labels": 2}, "t10k-images-idx3-ubyte"),
        ({"train_images": 3, "train_labels": 2}, "train"),
        ({"train_images": 3, "test_images": 3, "test_labels": 2}, "test"),
    ],
)
def test_an_idx_folder_needs_images_and_as_many_labels(tmp_path, counts, word):
    write_idx_folder(tmp_path, **counts)
    refused(formats.read_idx_folder, tmp_path, word)


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
    read = [formats.read_npy(tmp_path / "x.npy"), formats.read_npz(tmp_path / "x.npz")["arr_0"]]
    for got in (*read, *formats.read_npz(tmp_path / "y.npz").values()):
        np.testing.assert_array_equal(got, array)
        assert got.dtype == array.dtype.newbyteorder("=")
        assert got.flags.writeable


FINE_NPY = npy_bytes(np.arange(6, dtype=np.float32))
BROKEN_NPY = {
    "another magic": b"not an array at all",
    "nothing": b"",
    "a missing byte": FINE_NPY[:-1],
    "a byte too many": FINE_NPY + b"x",
    "half a header": FINE_NPY[:40],
    "an unknown version": FINE_NPY[:6] + b"\x09" + FINE_NPY[7:],
    "a bomb": npy_claiming("(1000000000000,)"),
    "a negative size": npy_claiming("(-1,)"),
    "a hostile header": npy_claiming("(" * 500),
    "records": npy_claiming("(1,)", "[('a', '<f4')]") + bytes(4),
}


@pytest.mark.parametrize("case", BROKEN_NPY)
def test_an_npy_array_is_refused_with(tmp_path, case):
    (tmp_path / "x.npy").write_bytes(BROKEN_NPY[case])
    refused(formats.read_npy, tmp_path / "x.npy", ".npy array")
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner.npy", BROKEN_NPY[case])
    refused(formats.read_npz, tmp_path / "x.npz", "[inner]")


class Harmful:
    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def test_object_arrays_are_refused_and_not_unpickled(tmp_path):
    array = np.array([Harmful(os.mkdir, str(tmp_path / "harm"))], dtype=object)
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    np.savez(tmp_path / "x.npz", inner=array)
    refused(formats.read_npy, tmp_path / "x.npy", "pickle")
    refused(formats.read_npz, tmp_path / "x.npz", "[inner]")
    assert not (tmp_path / "harm").exists()


def zip_with_claimed_size(path: Path, size: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", FINE_NPY)
    content = bytearray(path.read_bytes())
    central = content.rindex(b"PK\x01\x02")
    content[central + 24 : central + 28] = struct.pack("<I", size)
    path.write_bytes(content)


def test_an_archive_is_refused_that_claims_more_than_it_can_hold(tmp_path):
    zip_with_claimed_size(tmp_path / "x.npz", 2**31)
    refused(formats.read_npz, tmp_path / "x.npz", "cannot hold")


def test_an_archive_is_refused_whose_members_overlap(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", npy_bytes(np.zeros(1000)))
        archive.filelist += archive.filelist * 9
    refused(formats.read_npz, tmp_path / "x.npz", "cannot hold")


def test_an_archive_is_refused_that_is_packed_by_another_method(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", FINE_NPY)
    refused(formats.read_npz, tmp_path / "x.npz", "cannot hold")


def test_a_broken_archive_is_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(1000))
    whole = (tmp_path / "x.npz").read_bytes()
    flipped = bytearray(whole)
    flipped[500] ^= 1
    for content in (b"no zip", whole[:-50], whole[:4000] + whole[4010:], bytes(flipped)):
        (tmp_path / "x.npz").write_bytes(content)
        refused(formats.read_npz, tmp_path / "x.npz")


def test_what_is_no_array_in_an_archive_is_passed_over(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("readme.txt", b"hello")
        archive.writestr("x.npy", FINE_NPY)
    assert list(formats.read_npz(tmp_path / "x.npz")) == ["x"]


PAIRS = tuple(
    (np.random.default_rng(n).random((n, 4), np.float32), np.arange(n)) for n in (5, 3, 2)
)


def assert_pairs(got, expected=PAIRS) -> None:
    for (x, y), (x_expected, y_expected) in zip(got, expected, strict=True):
        np.testing.assert_array_equal(x, x_expected)
        np.testing.assert_array_equal(y, y_expected)
        assert x.dtype == x_expected.dtype.newbyteorder("=")
        assert x.flags.writeable


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
@pytest.mark.parametrize("zipped", [False, True])
def test_pickles_of_every_protocol_are_read(tmp_path, protocol, zipped):
    content = pickle.dumps(PAIRS, protocol)
    (tmp_path / "x.pkl").write_bytes(gzip.compress(content) if zipped else content)
    assert_pairs(formats.read_pickle(tmp_path / "x.pkl"))


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_arrays_may_be_lists_of_fortran_order_and_big_endian(tmp_path, protocol):
    pairs = [[np.asfortranarray(x.astype(">f8")), y.astype(np.uint8)] for x, y in PAIRS]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
    assert_pairs(formats.read_pickle(tmp_path / "x.pkl"), pairs)


def python2_array(array: np.ndarray) -> bytes:
    """What Python 2's cPickle writes for an array with protocol 2, byte for byte, less the memo."""
    raw = array.tobytes()
    kind = array.dtype.str[1:].encode()
    return (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"
        + b"".join(b"J" + struct.pack("<i", n) for n in array.shape)
        + (b"\x86" if array.ndim == 2 else b"\x85")
        + b"cnumpy\ndtype\nU\x02" + kind + b"K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T" + struct.pack("<I", len(raw)) + raw + b"tb"
    )  # fmt: skip


def test_the_tutorials_pickle_of_python_2_is_read(tmp_path):
    pairs = b"".join(python2_array(x) + python2_array(y) + b"\x86" for x, y in PAIRS)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(b"\x80\x02" + pairs + b"\x87."))
    assert_pairs(formats.read_pickle(tmp_path / "mnist.pkl.gz"))


def test_a_pickle_that_would_run_a_command_is_refused_and_nothing_is_run(tmp_path):
    pairs = (*PAIRS[:2], (Harmful(os.system, f"touch {tmp_path}/harm"), PAIRS[2][1]))
    for protocol in (0, 2, 4):
        (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
        refused(formats.read_pickle, tmp_path / "x.pkl", "import posix.system", "nothing was run")
    assert not (tmp_path / "harm").exists()


RECONSTRUCT, FROMBUFFER = np.zeros(1).__reduce__()[0], np.zeros(1).__reduce_ex__(5)[0]
HOSTILE = {
    "an allocation by _reconstruct": Harmful(RECONSTRUCT, np.ndarray, (10**12,), "f4"),
    "an allocation by ndarray": Harmful(np.ndarray, (10**12,)),
    "a buffer that is too small": Harmful(FROMBUFFER, b"1234", np.dtype("f4"), (10**12,), "C"),
    "a buffer of text": Harmful(FROMBUFFER, 7, np.dtype("f4"), (1,), "C"),
    "an object array": np.array([1, "a"], dtype=object),
    "a text array": np.array(["a"]),
    "a type alone": np.dtype("f4"),
    "numbers": [1, 2, 3],
    "a dictionary": {"x": 1},
    "a set": {1},
    "another function of NumPy": Harmful(np.load, "x.npy"),
    "a frozen set": frozenset([1]),
}


@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("protocol", [2, 5])
def test_a_pickle_is_refused_that_holds(tmp_path, case, protocol):
    pairs = (*PAIRS[:2], (HOSTILE[case], PAIRS[2][1]))
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(pairs, protocol))
    refused(formats.read_pickle, tmp_path / "x.pkl", "nothing was run")


WRONG_STATE = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
BROKEN_PICKLES = {
    "nothing": b"",
    "half a pickle": pickle.dumps(PAIRS, 2)[:-40],
    "garbage": b"\x80\x02garbage",
    "an array with a wrong state": b"\x80\x02((" + WRONG_STATE + b"K\x07bNtNNt.",
    "an array without a state": b"\x80\x02(" + 3 * (b"(" + 2 * WRONG_STATE + b"t") + b"t.",
    "a persistent id": b"\x80\x02Px\n.",
    "a binary persistent id": b"\x80\x02K\x01Q.",
    "an extension": b"\x80\x02\x82\x01.",
    "a memo of 64 GiB": b"\x80\x02Nr\xff\xff\xff\xff.",
    "a bytearray that is not there": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "bytes that are not there": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a state for a number": b"\x80\x02K\x01K\x02b.",
    "two pairs": pickle.dumps(PAIRS[:2], 2),
    "a pair of three": pickle.dumps((*PAIRS[:2], (1, 2, 3)), 2),
    "half a gzip stream": gzip.compress(pickle.dumps(PAIRS, 2))[:-20],
}


@pytest.mark.parametrize("case", BROKEN_PICKLES)
def test_a_pickle_is_refused_that_is(tmp_path, case):
    (tmp_path / "x.pkl").write_bytes(BROKEN_PICKLES[case])
    refused(formats.read_pickle, tmp_path / "x.pkl")


def test_a_pickle_that_unzips_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_LARGEST_PICKLE", 100)
    (tmp_path / "x.pkl").write_bytes(gzip.compress(pickle.dumps(PAIRS, 2)))
    refused(formats.read_pickle, tmp_path / "x.pkl", "more than 100 bytes")


def save(path: Path, values: np.ndarray, mode: str | None = None, **options) -> None:
    path.parent.mkdir(exist_ok=True)
    image = Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)


def grey(value: int, height: int = 4, width: int = 6) -> np.ndarray:
    return np.full((height, width), value, np.uint8)


def test_a_folder_of_images_is_read_in_natural_order_without_labels(tmp_path):
    for i in (10, 2, 1):
        save(tmp_path / f"image{i}.png", grey(i))
    images, labels, names = formats.read_image_folder(tmp_path)
    assert images.shape == (3, 4, 6)
    assert images.dtype == np.uint8
    assert images[:, 0, 0].tolist() == [1, 2, 10]
    assert labels is None
    assert names is None


def test_sub_folders_are_classes_in_natural_order(tmp_path):
    for name, value in (("10", 3), ("9", 1), ("9", 2)):
        save(tmp_path / name / f"{value}.png", grey(value))
    images, labels, names = formats.read_image_folder(tmp_path)
    assert names == ("9", "10")
    assert images[:, 0, 0].tolist() == [1, 2, 3]
    assert labels is not None
    assert labels.tolist() == [0, 0, 1]
    assert labels.dtype == np.int32


def test_one_image_in_colour_makes_all_rgb(tmp_path):
    save(tmp_path / "a.png", grey(7))
    save(tmp_path / "b.PNG", np.stack([grey(1), grey(2), grey(3)], axis=-1))
    images, *_ = formats.read_image_folder(tmp_path)
    assert images.shape == (2, 4, 6, 3)
    assert images[0, 0, 0].tolist() == [7, 7, 7]
    assert images[1, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("suffix", formats.IMAGE_SUFFIXES)
def test_every_suffix_is_read(tmp_path, suffix):
    options = {"lossless": True} if suffix == ".webp" else {}
    save(tmp_path / f"x{suffix.upper()}", grey(100), None, **options)
    images, *_ = formats.read_image_folder(tmp_path)
    assert np.all(abs(images.astype(int) - 100) <= 1)


@pytest.mark.parametrize(("mode", "expected"), [("L", 200), ("LA", 200), ("1", 255)])
def test_every_grey_mode_of_8_bits_is_grey(tmp_path, mode, expected):
    save(tmp_path / "x.png", grey(200) | 55, mode)
    images, *_ = formats.read_image_folder(tmp_path)
    assert images.ndim == 3
    assert images[0, 0, 0] == (expected if mode == "1" else 255)
    save(tmp_path / "x.png", grey(200), "LA" if mode == "LA" else None)
    assert formats.read_image_folder(tmp_path)[0][0, 0, 0] == 200


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bits_are_scaled_and_not_clipped(tmp_path, name):
    save(tmp_path / name, np.array([[0, 300, 25600, 65535]], np.uint16))
    images, *_ = formats.read_image_folder(tmp_path)
    assert images.tolist() == [[[0, 1, 100, 255]]]


def test_values_of_unknown_range_are_refused(tmp_path):
    save(tmp_path / "x.tif", np.array([[0.5]], np.float32))
    refused(lambda path: formats.read_image_folder(path.parent), tmp_path / "x.tif", "32-bit")


def test_images_of_different_sizes_need_an_image_size(tmp_path):
    save(tmp_path / "a.png", grey(1, 4, 6))
    save(tmp_path / "b.png", grey(2, 6, 4))
    refused(
        formats.read_image_folder, tmp_path,
        "a.png of (4, 6)", "b.png of (6, 4)", "--image-size HEIGHT WIDTH",
    )  # fmt: skip
    images, *_ = formats.read_image_folder(tmp_path, (3, 2))
    assert images.shape == (2, 3, 2)
    assert images[:, 0, 0].tolist() == [1, 2]


def test_resizing_takes_the_mean_of_the_pixels_covered(tmp_path):
    save(tmp_path / "a.png", np.array([[0, 100], [100, 200]], np.uint8))
    assert formats.read_image_folder(tmp_path, (1, 1))[0].tolist() == [[[100]]]


@pytest.mark.parametrize("size", [(0, 4), (-1, 4), (10**6, 10**6)])
def test_an_image_size_of_nothing_or_too_much_is_refused(tmp_path, size):
    save(tmp_path / "a.png", grey(1))
    refused(lambda path: formats.read_image_folder(path, size), tmp_path, "--image-size")


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_images_are_turned_the_way_that_exif_says(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    values = np.repeat(np.array([[0], [255]], np.uint8), 16, axis=1).repeat(8, axis=0)
    save(tmp_path / f"a.{suffix}", values[:, :8], exif=exif)
    images, *_ = formats.read_image_folder(tmp_path)
    assert images.shape == (1, 8, 16)
    assert images[0, 0, 0] > 250
    assert images[0, 0, -1] < 5


def test_what_is_no_image_and_what_is_hidden_is_skipped(tmp_path):
    save(tmp_path / "a.png", grey(1))
    for name in ("README.txt", "Thumbs.db", ".hidden.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"no image")
    (tmp_path / ".git").mkdir()
    assert len(formats.read_image_folder(tmp_path)[0]) == 1


@pytest.mark.parametrize("content", [b"", b"no image", b"half", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_an_unreadable_image_among_good_ones_is_named(tmp_path, content):
    save(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, (40, 40), np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "bad.png").write_bytes(whole[:900] if content == b"half" else content)
    message = refused(lambda path: formats.read_image_folder(path.parent), tmp_path / "bad.png")
    assert content or "an empty file" in message


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    save(tmp_path / "bomb.png", grey(0, 40, 40))
    for limit in (1000, 100):  # Pillow warns up to twice its limit and raises beyond.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        refused(lambda p: formats.read_image_folder(p.parent), tmp_path / "bomb.png", "bomb")


def test_images_beside_class_folders_are_refused(tmp_path):
    save(tmp_path / "a.png", grey(1))
    save(tmp_path / "cats" / "b.png", grey(1))
    refused(formats.read_image_folder, tmp_path, "a.png", "cats")


def test_a_class_without_images_is_named(tmp_path):
    save(tmp_path / "cats" / "b.png", grey(1))
    (tmp_path / "dogs").mkdir()
    refused(lambda path: formats.read_image_folder(path.parent), tmp_path / "dogs", "none")


def test_a_folder_without_images_or_that_is_missing_is_refused(tmp_path):
    (tmp_path / "README.txt").write_text("hello")
    refused(formats.read_image_folder, tmp_path, "none")
    refused(formats.read_image_folder, tmp_path / "missing")
