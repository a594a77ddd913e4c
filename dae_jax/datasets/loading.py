"""Data sets by name or path, each in three parts: to train, to validate and to test."""

import difflib
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dae_jax.datasets import arrays as formats
from dae_jax.datasets import mnist
from dae_jax.datasets.image_folder import IMAGE_SUFFIXES, read_image_folder
from dae_jax.datasets.pickles import read_pickle
from dae_jax.errors import InputError

NAMES = ("mnist", "mnist-sample", "digits")

_DIGITS = tuple("0123456789")
_PICKLE = r"\.(pkl|pickle)(\.gz)?$"
_Parts = Mapping[str, tuple[np.ndarray, np.ndarray | None]]  # Images and labels as they are read.
_Names = tuple[str, ...] | None
_Shape = tuple[int, ...] | None


class Split(NamedTuple):
    """Images (n, d), uint8 or int32 pixels or float32 values, and labels (n,) int32 or None."""

    images: np.ndarray
    labels: np.ndarray | None

    @property
    def n_classes(self) -> int:
        """The number of classes K of labels 0 .. K-1; 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max(initial=-1)) + 1


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


def load(
    name_or_path: str | os.PathLike,
    *,
    valid_fraction: float | None = None,
    image_size: tuple[int, int] | None = None,
) -> Dataset:
    """Load a data set by name, or a user's own by path.

    Integer images are pixels: uint8 if all of them lie in 0..255, int32 otherwise. Floating-point
    images are taken as they are, as float32; booleans become 0 and 1. The training images keep the
    order of their source; those of a folder of images, which is read class by class, are shuffled
    with a fixed seed.

    Args:
        name_or_path: A string out of NAMES, which wins over a file of that name; or the path of a
            folder of IDX files or of images, or of an .npz (x_train, y_train, x_test, y_test, or x
            and y; only the first is needed), .npy (images), IDX (images) or .pkl[.gz] file.
        valid_fraction: The part of the training images, in [0, 1), that is held out to validate,
            and as many again to test if there is no test set: by class, with a fixed seed; 0.1 if
            None. Only for data without a split of their own.
        image_size: The (height, width) in pixels of a folder's images; see read_image_folder.

    Raises:
        InputError: No such data, or they are broken, or an argument does not fit them.
    """
    dataset = _load(name_or_path, valid_fraction, image_size)
    if holds_image_files(str(name_or_path)):
        # A folder is read class by class, which no minibatch should be.
        order = np.random.default_rng(0).permutation(len(dataset.train.images))
        images, labels = dataset.train
        train = Split(images[order], None if labels is None else labels[order])
        dataset = dataset._replace(train=train)
    return dataset


def _load(
    name_or_path: str | os.PathLike,
    valid_fraction: float | None,
    image_size: tuple[int, int] | None,
) -> Dataset:
    """What `load` does, with the training images in the order of their source."""
    known = isinstance(name_or_path, str) and name_or_path in NAMES
    path = Path(name_or_path)
    images_inside = not known and os.path.isdir(path) and not formats.find_idx(path)
    if image_size is not None and not images_inside:
        do = "leave --image-size out"
        raise InputError("image_size", expected="a folder of images", got=name_or_path, do=do)
    if valid_fraction is not None and not 0 <= valid_fraction < 1:
        raise InputError("valid_fraction", expected="0 <= f < 1", got=valid_fraction, do="try 0.1")
    name, names = str(name_or_path), _DIGITS
    if not known:
        parts, names = _read_own(path, name, image_size)
        ending = r"([-.]idx\d?(-ubyte)?|\.npz|\.npy|\.pkl|\.pickle)?(\.gz)?$"
        name, source = re.sub(ending, "", path.resolve().name), str(path)
    elif name == "digits":
        parts, source = _digits()
    else:
        _refuse_fraction(valid_fraction, name)
        parts, source = mnist.read_mnist() if name == "mnist" else mnist.read_sample()
    images, shape = _flat_images(parts, source)
    labels, found = _class_indices(parts, source)
    splits = {part: Split(images[part], labels.get(part)) for part in parts}
    if "valid" in splits:
        _refuse_fraction(valid_fraction, source)
    else:
        wanted = ("valid",) if "test" in splits else ("valid", "test")
        fraction = 0.1 if valid_fraction is None else valid_fraction
        splits |= _held_out(splits["train"], wanted, fraction)
    return Dataset(name, source, **splits, image_shape=shape, class_names=names or found)


def load_whole(
    name_or_path: str | os.PathLike, *, image_size: tuple[int, int] | None = None
) -> Dataset:
    """Load a data set as its source has it: what comes in one part stays so, and in its order.

    The arguments and errors are load's.
    """
    pickled = re.search(_PICKLE, str(name_or_path).lower()) and not os.path.isdir(name_or_path)
    fixed = pickled or name_or_path in ("mnist", "mnist-sample")
    return _load(name_or_path, None if fixed else 0.0, image_size)


def holds_image_files(name_or_path: str) -> bool:
    """Whether that is an image in a file of its own, or a folder of them, which can be resized."""
    if name_or_path in NAMES:
        return False
    if os.path.isdir(name_or_path):
        return not formats.find_idx(Path(name_or_path))
    return os.path.isfile(name_or_path) and name_or_path.lower().endswith(IMAGE_SUFFIXES)


def load_default(
    *, valid_fraction: float | None = None, image_size: tuple[int, int] | None = None
) -> Dataset:
    """Load `mnist` where it can be had, otherwise `mnist-sample`: the result's name says which.

    The arguments are load's, which refuses all but None for these.

    Raises:
        InputError: MNIST is here but wrong, or the sample cannot be had either.
    """
    try:
        return load("mnist", valid_fraction=valid_fraction, image_size=image_size)
    except mnist.UnavailableError:
        return load("mnist-sample")


def _refuse_fraction(valid_fraction: float | None, what: object) -> None:
    if valid_fraction is not None:
        expected, do = "none, since this data set's split is fixed", "leave it out"
        raise InputError(f"valid_fraction for {what}", expected=expected, got=valid_fraction, do=do)


def _digits() -> tuple[_Parts, str]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = (np.asarray(images) / 16).astype(np.float32)
    return {"train": (scaled, np.asarray(labels))}, "sklearn.datasets.load_digits"


def _read_own(path: Path, asked: str, image_size: tuple[int, int] | None) -> tuple[_Parts, _Names]:
    """Read the parts that a user's own path holds, as they are, and the names of the classes."""
    if not asked or not os.path.exists(path):
        near = difflib.get_close_matches(asked, NAMES, 1)
        do = f"did you mean {near[0]}?" if near else "check the path"
        raise InputError("data", expected=f"{', '.join(NAMES)} or a path", got=repr(asked), do=do)
    lower = path.name.lower()
    if path.is_dir() and not formats.find_idx(path):
        images, labels, class_names = read_image_folder(path, image_size)
        return {"train": (images, labels)}, class_names
    if path.is_dir():
        keys = dict(zip(formats.IDX_NAMES, ("x_train", "y_train", "x_test", "y_test"), strict=True))
        arrays = {keys[part]: x for part, x in formats.read_idx_folder(path).items()}
    elif lower.endswith(".npz"):
        arrays = formats.read_npz(path)
    elif lower.endswith(".npy"):
        arrays = {"x": formats.read_npy(path)}
    elif re.search(r"[-.]idx\d?(-ubyte)?(\.gz)?$", lower):
        arrays = {"x": formats.read_idx(path)}
    elif re.search(_PICKLE, lower):
        return dict(zip(("train", "valid", "test"), read_pickle(path), strict=True)), None
    else:
        expected = "a folder, or a file .npz, .npy, .pkl[.gz], .idx[.gz] or -idx3-ubyte[.gz]"
        raise InputError(path, expected=expected, got="another", do="convert it to .npz")
    ends = {"train": "_train", "test": "_test"} if "x_train" in arrays else {"train": ""}
    pairs = {part: (arrays.get(f"x{end}"), arrays.get(f"y{end}")) for part, end in ends.items()}
    parts: _Parts = {part: (x, y) for part, (x, y) in pairs.items() if x is not None}
    if "train" not in parts or ("x_test" not in arrays and "y_test" in arrays):
        expected, got = "x_train[, y_train][, x_test[, y_test]] or x[, y]", ", ".join(arrays)
        raise InputError(path, expected=expected, got=got or "nothing", do="rename the arrays")
    return parts, None


def _flat_images(parts: _Parts, source: str) -> tuple[dict[str, np.ndarray], _Shape]:
    """Give each part's images as (n, d), all of one type, and one image's shape if it is known."""
    flat = {}
    for part, (array, _) in parts.items():
        what, do = f"{source} ({part} images)", "give one array of images of one size"
        got = f"shape {array.shape} of {array.dtype}"
        ranked = array.ndim in (2, 3) or (array.ndim == 4 and array.shape[3] in (1, 3))
        if array.dtype.kind not in "biuf" or not ranked:
            expected = "numbers of shape (n, d), (n, h, w) or (n, h, w, 1 or 3)"
            raise InputError(what, expected=expected, got=got, do=do)
        if array.size == 0:
            raise InputError(what, expected="at least one image and pixel", got=got, do=do)
        flat[part] = array.reshape(len(array), -1)
    widths = {part: array.shape[1] for part, array in flat.items()}
    kinds = {part: "integer" if x.dtype.kind in "iu" else "float" for part, x in flat.items()}
    for what, facts in (("of one width", widths), ("all integer or all float", kinds)):
        if len(set(facts.values())) > 1:
            do = "prepare all parts alike"
            raise InputError(source, expected=f"images {what}", got=facts, do=do)
    dtype = np.float32
    if "integer" in kinds.values():
        low, high = min(x.min() for x in flat.values()), max(x.max() for x in flat.values())
        dtype = np.uint8 if low >= 0 and high <= 255 else np.int32
        if high > np.iinfo(dtype).max or low < np.iinfo(dtype).min:
            got, do = f"{low} to {high}", "give them as float32"
            raise InputError(source, expected="images of 32-bit integers", got=got, do=do)
    with np.errstate(over="ignore"):  # What float32 cannot hold is told as infinite below.
        flat = {part: array.astype(dtype, copy=False) for part, array in flat.items()}
    for part, array in flat.items():
        if not (finite := np.isfinite(array)).all():
            i, j = divmod(int(finite.argmin()), array.shape[1])
            got, do = f"{array[i, j]} in image {i} at value {j}", "mend that image or leave it out"
            what = f"{source} ({part} images)"
            raise InputError(what, expected="finite numbers of float32", got=got, do=do)
    shape = parts["train"][0].shape[1:]
    shape = shape[:2] if shape[2:] == (1,) else shape
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        shape = (side, side) if side * side == shape[0] else None
    return flat, shape


def _class_indices(parts: _Parts, source: str) -> tuple[dict[str, np.ndarray], _Names]:
    """Give the labels there are as 0..K-1, and what those stand for if they were others before."""
    labels = {}
    for part, (images, array) in parts.items():
        if array is None:
            continue
        what, n = f"{source} ({part} labels)", len(images)
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
        return {}, None
    classes, indices = np.unique(np.concatenate([*labels.values()]), return_inverse=True)
    cuts = np.cumsum([len(array) for array in labels.values()])[:-1]
    mapped = dict(zip(labels, np.split(indices.astype(np.int32), cuts), strict=True))
    named = classes.tolist() != list(range(len(classes)))
    return mapped, tuple(map(str, classes)) if named else None


def _held_out(train: Split, wanted: tuple[str, ...], fraction: float) -> dict[str, Split]:
    """Split the training set anew, sharing every class out alike, as near as can be."""
    if fraction * len(wanted) >= 1:
        expected = f"less than {1 / len(wanted)}, to leave something to train on"
        raise InputError("valid_fraction", expected=expected, got=fraction, do="try 0.1")
    n, rng = len(train.images), np.random.default_rng(0)
    classes = np.zeros(n, np.int32) if train.labels is None else train.labels
    groups = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
    groups = [group for group in groups if len(group)]  # A class may be in the test set alone.
    place = np.empty(n)
    for group in groups:
        # Spread each class evenly over one line that all share, and cut the parts off its front;
        # one image of each goes to the end, since a class that is never trained on has no use.
        shuffled = rng.permutation(group)
        place[shuffled] = (np.arange(len(group)) + rng.random()) / len(group)
        place[shuffled[-1]] = np.inf
    line = np.argsort(place, kind="stable")
    count = min(max(1, round(fraction * n)) if fraction else 0, (n - len(groups)) // len(wanted))
    cuts, splits = [count * (i + 1) for i in range(len(wanted))], {}
    for part, places in zip((*wanted, "train"), np.split(line, cuts), strict=True):
        at = np.sort(places)
        splits[part] = Split(train.images[at], None if train.labels is None else train.labels[at])
    return splits
