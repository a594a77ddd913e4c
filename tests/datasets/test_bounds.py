"""No file makes its reader take memory that its size does not justify; no path ends in a traceback.

Each of these was slow, large or a traceback once, or printed the lines of other libraries.
"""

import gzip
import os
import pickle
import shutil
import struct
import tempfile
import time
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dae_jax import datasets, memory
from dae_jax.datasets import arrays, checks, image_folder, tables
from helpers import idx_bytes, refused, refused_file


@pytest.fixture
def little(monkeypatch):
    """A machine with 4 MB of free memory."""
    monkeypatch.setattr(memory, "available", lambda: 4_000_000)


# ---- compressed files ------------------------------------------------------------------------


def zeros(n_bytes: int, head: bytes = b"") -> bytes:
    """Gzip of a head and zeros, made without the zeros."""
    compress = zlib.compressobj(wbits=31)
    parts = [compress.compress(head)]
    parts += [compress.compress(bytes(1 << 20)) for _ in range(n_bytes >> 20)]
    return b"".join([*parts, compress.flush()])


IDX_OF_300_MB = b"\0\0\x08\x03" + struct.pack(">3I", 300, 1024, 1024)


def measured(call) -> tuple[float, int]:
    """The seconds and the peak of Python's memory of a call that is refused."""
    tracemalloc.start()
    began = time.perf_counter()
    try:
        refused(call)
        return time.perf_counter() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_an_idx_file_that_would_unfold_to_hundreds_of_megabytes_is_refused_unread(tmp_path):
    file = tmp_path / "x.idx.gz"
    file.write_bytes(zeros(300 << 20, IDX_OF_300_MB))
    refused_file(arrays.read_idx, file, "at most 200 times", "decompress it first, by gunzip")
    seconds, peak = measured(lambda: arrays.read_idx(file))
    assert seconds < 5 and peak < 10_000_000


def test_the_advice_to_decompress_a_file_works(tmp_path):
    file = tmp_path / "x.idx.gz"
    file.write_bytes(zeros(300 << 20, IDX_OF_300_MB))
    with gzip.open(file) as zipped, open(tmp_path / "x.idx", "wb") as plain:
        shutil.copyfileobj(zipped, plain)
    assert arrays.read_idx(tmp_path / "x.idx").shape == (300, 1024, 1024)


def test_no_more_is_decompressed_than_a_header_claims(tmp_path):
    head = b"\0\0\x08\x03" + struct.pack(">3I", 10, 28, 28)
    (tmp_path / "x.idx.gz").write_bytes(zeros(300 << 20, head))
    seconds, peak = measured(lambda: arrays.read_idx(tmp_path / "x.idx.gz"))
    assert seconds < 5 and peak < 20_000_000


def test_an_archive_that_would_unfold_to_hundreds_of_megabytes_is_refused_unread(tmp_path):
    file = tmp_path / "x.npz"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("x", "y", "z"):
            with archive.open(f"{name}.npy", "w") as member:
                np.save(member, np.zeros((100, 1024, 1024), np.uint8))
    refused_file(arrays.read_npz, file, "at most 200 times", "save it by numpy.savez")
    assert measured(lambda: arrays.read_npz(file))[1] < 10_000_000


@pytest.mark.parametrize("content", [b"N" * 40_000_000 + b"t.", b"(" * 40_000_000])
def test_a_pickle_of_millions_of_objects_is_refused_in_a_moment(tmp_path, content):
    file = tmp_path / "x.pkl.gz"
    file.write_bytes(gzip.compress(b"\x80\x02(" + content))
    words = "more than 10,000 instructions", "nothing was run"
    refused_file(lambda path: datasets.load(path), file, *words)
    assert measured(lambda: datasets.load(file))[0] < 5


def test_a_pickle_that_would_unfold_to_hundreds_of_megabytes_is_refused(tmp_path):
    (tmp_path / "x.pkl.gz").write_bytes(zeros(400 << 20))
    refused_file(datasets.load, tmp_path / "x.pkl.gz", "at most 200 times")


def test_a_parquet_file_that_would_unfold_to_hundreds_of_megabytes_is_refused(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    columns = {f"a{i}": np.zeros(2_000_000, np.float32) for i in range(20)}
    pandas.DataFrame(columns).to_parquet(tmp_path / "x.parquet")
    refused_file(tables.read_table, tmp_path / "x.parquet", "at most 200 times", ".csv")


# ---- images ----------------------------------------------------------------------------------


def png(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A grey PNG that claims a size, whatever its pixels are."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(pixels)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_an_image_that_claims_more_pixels_than_its_bytes_can_hold_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(png(1, 89_000_000))
    refused_file(image_folder.read_image_folder, tmp_path, "a.png", "89000000 x 1 pixels in 65")
    assert measured(lambda: datasets.load(tmp_path))[1] < 5_000_000


def test_a_jpeg_of_thousands_of_empty_scans_is_refused_in_a_moment(tmp_path):
    Image.new("L", (4_000, 4_000)).save(tmp_path / "a.jpg", progressive=True)
    assert image_folder.read_image_folder(tmp_path, (2, 2)).images.shape == (1, 2, 2)
    content = (tmp_path / "a.jpg").read_bytes()
    last = content.rindex(b"\xff\xda")
    (tmp_path / "a.jpg").write_bytes(content[:last] + 10_000 * content[last:-2] + content[-2:])
    refused_file(image_folder.read_image_folder, tmp_path, "a.jpg", "scans of 4000 x 4000 pixels")
    assert measured(lambda: image_folder.read_image_folder(tmp_path))[0] < 5


def test_a_large_blank_image_is_read(tmp_path):
    Image.new("L", (5_000, 4_000), 255).save(tmp_path / "page.png")
    assert image_folder.read_image_folder(tmp_path, (4, 5)).images.tolist() == [[[255] * 5] * 4]


@pytest.mark.usefixtures("little")
def test_images_that_do_not_fit_are_refused_before_they_are_decoded(tmp_path, monkeypatch):
    for i in range(4):
        Image.new("L", (1_000, 1_000)).save(tmp_path / f"{i}.png")
    monkeypatch.setattr(image_folder, "_pixels", None)
    monkeypatch.setattr(image_folder.console, "cores", lambda: 1)
    words = "at most 4 MB", "got 12 MB needed", "pass --image-size"
    refused_file(image_folder.read_image_folder, tmp_path, *words)
    size = 2_000, 1_000
    words = "at most 4 MB", "got 24 MB needed", "choose a smaller --image-size"
    refused_file(lambda path: image_folder.read_image_folder(path, size), tmp_path, *words)
    monkeypatch.undo()
    assert image_folder.read_image_folder(tmp_path, (3, 3)).images.shape == (4, 3, 3)


@pytest.mark.usefixtures("little")
@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x-idx3-ubyte", "x.csv", "x.pkl", "x.pkl.gz"])
def test_a_file_that_does_not_fit_is_refused(tmp_path, name):
    file, x = tmp_path / name, np.random.default_rng(0).integers(0, 256, (60, 300, 300), np.uint8)
    pairs = [(x, np.zeros(60)), (x[:1], np.zeros(1)), (x[:1], np.zeros(1))]
    if name.startswith("x.np"):
        (np.save if name == "x.npy" else np.savez)(file, x)
    elif name == "x.csv":
        file.write_text("a,b\n" + "1,2\n" * 1_100_000)
    else:
        content = idx_bytes(x) if "idx" in name else pickle.dumps(pairs)
        file.write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    refused_file(datasets.load, file, "at most 4 MB, the memory that is free")


def test_a_line_without_an_end_is_refused(tmp_path):
    (tmp_path / "x.csv").write_bytes(b"1," * (1 << 23))
    refused_file(datasets.load, tmp_path / "x.csv", "a line of 16,777,216 letters or more")


def test_file_names_and_classes_of_thousands_of_digits_are_sorted(tmp_path):
    names = ["9" * 5_000, "10" * 2_500, "0012", "3", "12"]
    for i in range(5):
        Image.new("L", (2, 2), i).save(tmp_path / f"{i}.png")
    lines = [f"{i}.png,{name}" for i, name in enumerate(names)]
    (tmp_path / "x.csv").write_text("\n".join(["file,label", *lines]))
    read = image_folder.read_image_folder(tmp_path / "x.csv")
    assert read.class_names == ("3", "0012", "12", "10" * 2_500, "9" * 5_000)


# ---- paths -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("path", ["n" * 300, "n" * 300 + ".npz", "a\0b", "loop", "loop/x.npy", ""])
def test_a_path_that_the_system_refuses_is_one_line(path):
    os.symlink("loop", "loop")
    data = datasets.from_array(np.zeros((3, 4)))[0]
    split = datasets.Split(data, None)
    own = datasets.Dataset("own", "own.npy", split, split, split, (2, 2), None)
    for read in (
        datasets.load,
        datasets.load_whole,
        image_folder.read_image_folder,
        image_folder.read_without_labels,
        arrays.read_npy,
        arrays.read_npz,
        arrays.read_idx,
        arrays.read_idx_folder,
        lambda path: checks.with_unlabelled(own, path, None),
    ):
        if path or read not in (image_folder.read_image_folder, image_folder.read_without_labels):
            refused(lambda read=read: read(path))


def test_images_that_a_list_names_in_impossible_ways_are_missing(tmp_path):
    Path(tmp_path / "x.csv").write_text("file,label\n" + "n" * 300 + ".png,a\na\0b.png,b\n")
    refused_file(datasets.load, tmp_path / "x.csv")


@pytest.fixture
def nobody() -> Iterator[Path]:
    """A folder of a user who may not read everything, as the tests of root may."""
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no permissions of this kind")
    folder, user = Path(tempfile.mkdtemp()), os.geteuid()
    folder.chmod(0o755)
    for name, permissions in (("none", 0), ("names", 0o444), ("file", 0o755)):
        (folder / name).mkdir()
        Image.new("L", (2, 2)).save(folder / name / "a.png")
        np.save(folder / name / "x.npy", np.zeros((9, 4)))
        (folder / name / "x.csv").write_text("a,b\n1,2\n")
        for file in (folder / name).iterdir():
            file.chmod(0)
        (folder / name).chmod(permissions)
    os.seteuid(user or 65534)
    try:
        yield folder
    finally:
        os.seteuid(user)
        for name in ("none", "names"):
            (folder / name).chmod(0o755)
        shutil.rmtree(folder)


def test_what_may_not_be_read_is_one_line(nobody):
    for name in ("none", "names", "file"):
        refused(lambda name=name: datasets.load(nobody / name), name)
        refused(lambda name=name: image_folder.read_without_labels(nobody / name), name)
        for file in ("x.npy", "x.csv", "a.png"):
            refused(lambda path=nobody / name / file: datasets.load(path))
    for name in ("none", "names"):
        refused(lambda name=name: datasets.load(nobody / name), "Permission denied")


# ---- other libraries are silent --------------------------------------------------------------


def test_a_damaged_tiff_is_one_line_without_those_of_libtiff(tmp_path, capfd):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8))
    for how in ("tiff_lzw", "tiff_deflate"):
        image.save(tmp_path / "a.tif", compression=how)
        content = bytearray((tmp_path / "a.tif").read_bytes())
        content[30:90] = np.random.default_rng(0).integers(0, 256, 60, np.uint8).tobytes()
        (tmp_path / "a.tif").write_bytes(content)
        refused_file(image_folder.read_image_folder, tmp_path, "a.tif")
    os.write(2, b"still there")
    assert tuple(capfd.readouterr()) == ("", "still there")


@contextmanager
def nothing_said(caplog, capfd) -> Iterator[None]:
    """Check that no library warns, logs or prints."""
    capfd.readouterr()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        yield
    assert not seen and not caplog.records and tuple(capfd.readouterr()) == ("", "")


def test_damaged_headers_are_one_line_without_those_of_their_parsers(tmp_path, caplog, capfd):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.tif")
    content = (tmp_path / "a.tif").read_bytes()
    samples = struct.pack("<HHI", 277, 3, 1)  # of a pixel, of which one number follows
    assert samples in content
    place = content.index(samples) + len(samples)
    damaged = content[:place] + struct.pack("<H", 278) + content[place + 2 :]
    (tmp_path / "a.tif").write_bytes(damaged)
    header = b"{'descr': '<f4\\e', 'fortran_order': False, 'shape': (1,)}"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "x.npy").write_bytes(npy)
    with nothing_said(caplog, capfd):
        refused_file(image_folder.read_image_folder, tmp_path, "a.tif")
        refused_file(arrays.read_npy, tmp_path / "x.npy")


def test_warnings_of_other_libraries_about_images_and_tables_are_not_shown(tmp_path, caplog, capfd):
    image = Image.new("P", (4, 4))
    image.info["transparency"] = bytes(range(256))
    image.save(tmp_path / "a.png")  # Pillow advises the user to convert it
    pytest.importorskip("pandas")
    rows = ["1,2"] * 300_000 + ["1,x"] * 300_000  # of which pandas says that types are mixed
    (tmp_path / "x.csv").write_text("\n".join(["a,b", *rows]))
    (tmp_path / "y.csv").write_text("a,label\n1,inf\n2,1e300\n")
    with nothing_said(caplog, capfd):
        image_folder.read_image_folder(tmp_path, grey=True)
        refused(lambda: tables.read_table(tmp_path / "x.csv"), "column b")
        assert tables.read_table(tmp_path / "y.csv").labels is not None


def test_text_in_a_parquet_file_that_is_no_utf_8_is_one_line(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    pytest.importorskip("pandas")
    text = pyarrow.array(["kind", "sort"])
    table = pyarrow.table({"a": [1.0, 2.0], "label": text})
    parquet.write_table(table, tmp_path / "x.parquet", compression="none", use_dictionary=False)
    content = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(content.replace(b"kind", b"\xffind"))
    refused_file(tables.read_table, tmp_path / "x.parquet")
