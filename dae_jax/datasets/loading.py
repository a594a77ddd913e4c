"""Load a data set by name or path, split into training, validation and test images."""

import difflib
import math
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from dae_jax import rows
from dae_jax.datasets import mnist, tables, variations
from dae_jax.datasets.arrays import (
    IDX_NAMES,
    find_idx,
    find_shards,
    read_idx,
    read_idx_folder,
    read_npy,
    read_npz,
    read_shards,
)
from dae_jax.datasets.image_folder import (
    IMAGE_SUFFIXES,
    LABELS_SUFFIX,
    ImageFiles,
    Left,
    read_image_folder,
)
from dae_jax.datasets.label_file import COLUMNS
from dae_jax.datasets.pickles import read_pickle
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows, Between, Joined, Rows, Selected, Without

__all__ = [
    "LARGE",
    "NAMES",
    "Dataset",
    "Split",
    "from_array",
    "has_fixed_split",
    "holds_image_files",
    "load",
    "load_default",
    "load_whole",
]

NAMES = ("mnist", "mnist-sample", "digits", *variations.NAMES)
"""Data sets that `load` knows by name; for the last ones, see `variations`."""
LARGE = 1 << 30
"""The bytes of training images from which on they are trained on in blocks, by default, and no more
than `HELD_OUT` are held out for each of validation and testing."""
HELD_OUT = 10_000

_DIGITS = tuple("0123456789")
_PICKLE = r"\.(pkl|pickle)(\.gz)?$"
_IDX = r"[-.]idx\d?(-ubyte)?(\.gz)?$"
_ENDING = r"([-.]idx\d?(-ubyte)?|\.npz|\.npy|\.pkl|\.pickle|\.csv|\.parquet)?(\.gz)?$"
_Parts = Mapping[str, tuple[AnyRows, np.ndarray | None]]  # Images and labels as they are read.
_Names = tuple[str, ...] | None
_Shape = tuple[int, ...] | None


class Split(NamedTuple):
    """The images of one part of a data set, and their labels."""

    images: AnyRows
    """(n, d), pixels as uint8 or int32, or values as float32, NaN where they are missing."""
    labels: np.ndarray | None
    """(n,), int32 in 0 .. K-1; or None."""

    @property
    def n_classes(self) -> int:
        """The number of classes K; 0 without labels."""
        return 0 if self.labels is None else int(self.labels.max(initial=-1)) + 1


class Dataset(NamedTuple):
    """A data set in three parts: for training, validation and testing."""

    name: str
    """Its name, as in the names of files."""
    source: str
    """The path or package that it was read from."""
    train: Split
    valid: Split
    """May be empty, as may `test`."""
    test: Split
    image_shape: tuple[int, ...] | None
    """(h, w) or (h, w, 3), whose product is d; None if it is unknown."""
    class_names: tuple[str, ...] | None
    """The names of labels 0, 1, ...; None if they are not named."""
    unlabelled: AnyRows | None = None
    """More images of the same kind without labels, for pretraining alone, (m, d); or None."""
    notices: tuple[str, ...] = ()
    """The lines that a command prints about image files: see `image_folder.ImageFiles`."""
    columns: tuple[str, ...] | None = None
    """The names of the d columns of a table; None for images."""

    @property
    def pretraining_images(self) -> AnyRows:
        """The training images followed by those without labels, (n + m, d)."""
        if self.unlabelled is None:
            return self.train.images
        both = self.train.images, self.unlabelled
        if any(isinstance(images, Rows) for images in both):
            return Joined(both)
        return np.concatenate(both)

    @property
    def parts(self) -> tuple[Split, Split, Split]:
        """The three parts."""
        return self.train, self.valid, self.test

    def in_memory(self) -> "Dataset":
        """The data set with all images as arrays.

        Raises:
            InputError: They do not fit into memory.
        """
        train, valid, test = (
            Split(rows.in_memory(images, self.source), labels) for images, labels in self.parts
        )
        more = self.unlabelled
        if more is not None:
            more = rows.in_memory(more, self.source)
        return self._replace(train=train, valid=valid, test=test, unlabelled=more)


def load(
    name_or_path: str | os.PathLike,
    *,
    valid_fraction: float | None = None,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
    label_column: str | None = None,
    leave: float = math.inf,
) -> Dataset:
    """Load a data set by name, or one of your own by path.

    Integer images are pixels: uint8 if all values lie in 0..255, int32 otherwise. Floating-point
    images become float32, with unchanged values; booleans become 0 and 1. NaN is a missing value.
    The rows of a table are float32, too. The training images stay in the order of their source, but
    those of image files, which are read class by class, are shuffled with a fixed seed.

    Args:
        name_or_path: One of `NAMES` as a string, even if there is a file of that name; or the path
            of a folder of IDX files or of images, of a .csv file of images and their labels, or of
            an .npz (x_train, y_train, x_test, y_test, or x and y; only the images to train on are
            needed), .npy (images), IDX (images) or .pkl[.gz] file; of a folder of .npy files, see
            `arrays.read_shards`; or of a table of numbers, a .csv or .parquet file, see
            `tables.read_table`.
        valid_fraction: The share of the training images, in [0, 1), that is held out for
            validation, and as many again for testing if there is no test set. The split is
            balanced by class and has a fixed seed. None means 0.1; of images of more than `LARGE`
            bytes, that or the share of `HELD_OUT` images. Only for data without a split of their
            own.
        image_size: (height, width) in pixels for image files; see `read_image_folder`.
        grey: Whether to read image files that are saved in colour as grey.
        label_column: The column of a table that holds the classes; None for ``label``, if there is
            one.
        leave: Images of so many bytes, or more, stay in their files, as `rows.Rows`; those of
            .npy and IDX files and .npz archives that are not compressed.

    Returns:
        The data set.

    Raises:
        InputError: The data are not found, cannot be read or are malformed, or an argument does
            not apply to them.
    """
    dataset = _load(
        name_or_path, valid_fraction, image_size, grey, label_column, leave, shuffled=True
    )
    if holds_image_files(str(name_or_path)) and isinstance(dataset.train.images, np.ndarray):
        # Minibatches of a single class would spoil training.
        order = np.random.default_rng(0).permutation(len(dataset.train.images))
        images, labels = dataset.train
        train = Split(images[order], None if labels is None else labels[order])
        dataset = dataset._replace(train=train)
    return dataset


def load_whole(
    name_or_path: str | os.PathLike,
    *,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
    label_column: str | None = None,
    leave: float = math.inf,
) -> Dataset:
    """Load a data set without a new split and without shuffling.

    If the data have no split of their own, all images are training images, in the order of their
    source.

    Args:
        name_or_path: See `load`.
        image_size: See `load`.
        grey: See `load`.
        label_column: See `load`.
        leave: See `load`.

    Returns:
        The data set.

    Raises:
        InputError: As for `load`.
    """
    fraction = None if has_fixed_split(name_or_path) else 0.0
    return _load(name_or_path, fraction, image_size, grey, label_column, leave)


def from_array(
    images: ArrayLike, what: str = "images"
) -> tuple[np.ndarray, tuple[int, ...] | None]:
    """Images in an array, as a data set holds them.

    Args:
        images: Numbers of shape (n, d), (n, h, w) or (n, h, w, 1 or 3).
        what: Their name, for errors.

    Returns:
        (n, d), as `load` returns them; and (h, w) or (h, w, 3), or None for vectors.

    Raises:
        InputError: They have another shape, are no numbers or are infinite.
    """
    array = np.asarray(images)
    flat = rows.in_memory(_flat_images({"": (array, None)}, what)[""])
    return flat, None if array.ndim == 2 else _image_shape(array.shape[1:])


def has_fixed_split(name_or_path: str | os.PathLike) -> bool:
    """Whether a data set has validation images of its own, so that none can be drawn."""
    pickled = re.search(_PICKLE, str(name_or_path).lower()) and not os.path.isdir(name_or_path)
    return bool(pickled) or name_or_path in ("mnist", "mnist-sample", *variations.NAMES)


def load_default(
    *,
    valid_fraction: float | None = None,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
) -> Dataset:
    """Load ``mnist``, or ``mnist-sample`` if MNIST is not available.

    Args:
        valid_fraction: See `load`. Any value but None is an error, since the split is fixed.
        image_size: See `load`. Any value but None is an error.
        grey: See `load`. True is an error.

    Returns:
        The data set, whose name says which of the two it is.

    Raises:
        InputError: MNIST is found but wrong, the sample is not installed either, or an argument is
            given.
    """
    try:
        return load("mnist", valid_fraction=valid_fraction, image_size=image_size, grey=grey)
    except mnist.UnavailableError:
        return load("mnist-sample")


def holds_image_files(name_or_path: str) -> bool:
    """Whether a path is an image file, a folder of them or a CSV file of their labels.

    Args:
        name_or_path: See `load`; False for a name.
    """
    if name_or_path in NAMES:
        return False
    is_image = name_or_path.lower().endswith(IMAGE_SUFFIXES) and os.path.isfile(name_or_path)
    return is_image or _lists_images(name_or_path)


def _lists_images(path: str) -> bool:
    """Whether a path is a folder of images or a CSV file of their labels."""
    if os.path.isdir(path):
        return not find_idx(path) and not _is_sharded(path)
    is_csv = path.lower().endswith(LABELS_SUFFIX) and os.path.isfile(path)
    return is_csv and COLUMNS[0] in tables.header(path)


def _is_sharded(path: str) -> bool:
    """Whether a folder holds .npy files, and neither images nor visible folders."""
    if not (shards := find_shards(path)):
        return False
    others = (Path(path, name) for name in os.listdir(path) if name[0] != ".")
    return not any(
        p.suffix.lower() in IMAGE_SUFFIXES or os.path.isdir(p) for p in others if p not in shards
    )


def _load(
    name_or_path: str | os.PathLike,
    valid_fraction: float | None,
    image_size: tuple[int, int] | None,
    grey: bool,
    label_column: str | None,
    leave: float,
    *,
    shuffled: bool = False,
) -> Dataset:
    """Load a data set as `load` does, but without shuffling.

    Images that are decoded into a file are shuffled, if wanted, since they are read in its order.
    """
    is_name = isinstance(name_or_path, str) and name_or_path in NAMES
    path = Path(name_or_path)
    lists_images = not is_name and _lists_images(str(name_or_path))
    is_table = not is_name and not lists_images and tables.is_table(str(name_or_path))
    if label_column is not None and not is_table:
        expected, do = "a table, .csv or .parquet", "leave --label-column out"
        raise InputError("--label-column", expected=expected, got=name_or_path, do=do)
    for option, given in (("image_size", image_size is not None), ("grey", grey)):
        if given and not lists_images:
            do = f"leave --{option.replace('_', '-')} out"
            expected = "a folder of images, or a CSV file of their labels"
            raise InputError(option, expected=expected, got=name_or_path, do=do)
    if valid_fraction is not None and not 0 <= valid_fraction < 1:
        raise InputError("valid_fraction", expected="0 <= f < 1", got=valid_fraction, do="try 0.1")
    name, class_names, notices, columns = str(name_or_path), _DIGITS, (), None
    if not is_name:
        if lists_images:
            read, parts = _read_images(path, image_size, grey, leave, (valid_fraction, shuffled))
            class_names, notices = read.class_names, read.notices
        elif is_table:
            values, table_labels, columns = tables.read_table(path, label_column)
            parts, class_names = {"train": (values, table_labels)}, None
        else:
            parts, class_names = _read_path(path, name, leave), None
        name, source = re.sub(_ENDING, "", path.resolve().name), str(path)
    elif name == "digits":
        parts, source = _digits()
    elif name in variations.NAMES:
        _refuse_fraction(valid_fraction, name)
        name, source, parts, class_names, notices = variations.read(name)
    else:
        _refuse_fraction(valid_fraction, name)
        parts, source = mnist.read_mnist() if name == "mnist" else mnist.read_sample()
    images = _flat_images(parts, source)
    labels, label_names = _class_indices(parts, source)
    splits = {part: Split(images[part], labels.get(part)) for part in parts}
    if "valid" in splits:
        if not lists_images:
            _refuse_fraction(valid_fraction, source)
    else:
        missing = ("valid",) if "test" in splits else ("valid", "test")
        train = splits["train"]
        large = train.images.nbytes > LARGE
        n, n_parts = len(train.images), len(missing)
        drawn = _drawn(n, train.labels, n_parts, valid_fraction, large=large)
        splits |= _divided(train, drawn, missing)
    shape = None if columns else _image_shape(parts["train"][0].shape[1:])
    train, valid, test = (splits[part] for part in ("train", "valid", "test"))
    names = class_names or label_names
    return Dataset(name, source, train, valid, test, shape, names, notices=notices, columns=columns)


def _refuse_fraction(valid_fraction: float | None, what: object) -> None:
    if valid_fraction is not None:
        expected, do = "none, because the split of this data set is fixed", "leave it out"
        raise InputError(f"valid_fraction for {what}", expected=expected, got=valid_fraction, do=do)


def _digits() -> tuple[_Parts, str]:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    scaled = (np.asarray(images) / 16).astype(np.float32)
    return {"train": (scaled, np.asarray(labels))}, "sklearn.datasets.load_digits"


def _read_images(
    path: Path,
    image_size: tuple[int, int] | None,
    grey: bool,
    leave: float,
    split: tuple[float | None, bool],
) -> tuple[ImageFiles, _Parts]:
    """Read image files; those that stay in a file of pixels in the parts and the order of `load`.

    Args:
        path: Of the images.
        image_size: See `load`, as for `grey` and `leave`.
        split: The share of images that is held out, and whether the others are shuffled.
    """
    (share, shuffled), sizes = split, []

    def order(n: int, n_bytes: int, labels: np.ndarray | None) -> np.ndarray:
        held_out = _drawn(n, labels, 2, share, large=n_bytes > LARGE)
        rest = np.delete(np.arange(n), np.concatenate(held_out))
        rest = rest[np.random.default_rng(0).permutation(len(rest))]
        sizes[:] = [len(rest), *map(len, held_out)]
        return np.concatenate([rest, *held_out])

    left = Left(leave, order if shuffled else None)
    read = read_image_folder(path, image_size, grey, left=left)
    if not (isinstance(read.images, Rows) and sizes):
        return read, {"train": (read.images, read.labels)}
    parts: dict[str, tuple[AnyRows, np.ndarray | None]] = {}
    ends = np.cumsum([0, *sizes]).tolist()
    for name, (first, last) in zip(("train", "valid", "test"), pairwise(ends), strict=True):
        own = Between(read.images, first, last)
        small = name != "train" and own.nbytes <= LARGE
        labels = None if read.labels is None else read.labels[first:last]
        parts[name] = own[:] if small else own, labels
    return read, parts


def _read_path(path: Path, given: str, leave: float) -> _Parts:
    """Read the parts in a file of arrays or a folder of them, unchanged.

    Args:
        path: The file or folder.
        given: The path as the user gave it, for errors.
        leave: See `load`.
    """
    if not given or not os.path.exists(path):
        near = difflib.get_close_matches(given, NAMES, 1)
        do = f"did you mean {near[0]}?" if near else "check the path"
        varied = given.startswith(variations.PREFIX)
        names = [name for name in NAMES if name.startswith(variations.PREFIX) == varied]
        expected = f"{', '.join(names)} or a path"
        raise InputError("data", expected=expected, got=repr(given), do=do)
    name = path.name.lower()
    if path.is_dir() and find_idx(path):
        keys = dict(zip(IDX_NAMES, ("x_train", "y_train", "x_test", "y_test"), strict=True))
        arrays = {keys[part]: array for part, array in read_idx_folder(path, leave).items()}
        return _parts_by_name(arrays, path)
    if path.is_dir():
        return _parts_by_name(read_shards(path, leave), path)
    if name.endswith(".npz"):
        return _parts_by_name(read_npz(path, leave), path)
    if name.endswith(".npy"):
        return {"train": (read_npy(path, leave), None)}
    if re.search(_IDX, name):
        return {"train": (read_idx(path, leave), None)}
    if re.search(_PICKLE, name):
        return dict(zip(("train", "valid", "test"), read_pickle(path), strict=True))
    expected = (
        "a folder, or a file .csv, .parquet, .npz, .npy, .pkl[.gz], .idx[.gz] or -idx3-ubyte[.gz]"
    )
    raise InputError(path, expected=expected, got="another format", do="convert it to .npz")


def _parts_by_name(arrays: Mapping[str, Any], path: Path) -> _Parts:
    """Pair arrays named x_train, y_train, x_test, y_test, or x and y, to images and labels."""
    suffixes = {"train": "_train", "test": "_test"} if "x_train" in arrays else {"train": ""}
    parts: dict[str, tuple[AnyRows, np.ndarray | None]] = {
        part: (arrays[f"x{suffix}"], arrays.get(f"y{suffix}"))
        for part, suffix in suffixes.items()
        if f"x{suffix}" in arrays
    }
    if "train" not in parts or ("x_test" not in arrays and "y_test" in arrays):
        expected, got = "x_train[, y_train][, x_test[, y_test]] or x[, y]", ", ".join(arrays)
        raise InputError(path, expected=expected, got=got or "nothing", do="rename the arrays")
    return parts


def _flat_images(parts: _Parts, source: str) -> dict[str, AnyRows]:
    """The images of each part as (n, d), with one d and one type for all; none is infinite."""
    flat: dict[str, AnyRows] = {}
    for part, (array, _) in parts.items():
        what, do = _named(source, part), "give one array of images of one size"
        got = f"shape {array.shape} of {array.dtype}"
        right_shape = array.ndim in (2, 3) or (array.ndim == 4 and array.shape[3] in (1, 3))
        if array.dtype.kind not in "biuf" or not right_shape:
            expected = "numbers of shape (n, d), (n, h, w) or (n, h, w, 1 or 3)"
            raise InputError(what, expected=expected, got=got, do=do)
        if array.size == 0:
            raise InputError(what, expected="at least one image and pixel", got=got, do=do)
        flat[part] = rows.flat(array, array.dtype)
    widths = {part: array.shape[1] for part, array in flat.items()}
    kinds = {part: "integer" if x.dtype.kind in "iu" else "float" for part, x in flat.items()}
    for expected, got in (("of one width", widths), ("all integer or all float", kinds)):
        if len(set(got.values())) > 1:
            do = "prepare all parts in the same way"
            raise InputError(source, expected=f"images {expected}", got=got, do=do)
    dtype = _integer_dtype(flat, source) if "integer" in kinds.values() else np.float32
    with np.errstate(over="ignore"):  # Values too large for float32 become infinite; see below.
        flat = {part: rows.flat(array, dtype) for part, array in flat.items()}
    for part, array in flat.items():
        if array.dtype.kind == "f":
            _check_finite(array, _named(source, part))
    return flat


def _check_finite(images: AnyRows, what: str) -> None:
    """Check that no value is infinite, and some are not missing."""
    before, n_missing = 0, 0
    for part in rows.parts(images):
        if (infinite := np.isinf(part)).any():
            i, j = divmod(int(infinite.argmax()), part.shape[1])
            got = f"{part[i, j]} in image {before + i} at value {j}"
            do = "correct it or leave the image out"
            raise InputError(what, expected="finite numbers of float32", got=got, do=do)
        before, n_missing = before + len(part), n_missing + int(np.isnan(part).sum())
    if n_missing == images.size:
        expected, do = "numbers, of which some may be missing", "give some"
        raise InputError(what, expected=expected, got="NaN alone", do=do)


def _named(source: str, part: str) -> str:
    """The images of a part, for errors; an array has no parts."""
    return f"{source} ({part} images)" if part else source


def _integer_dtype(images: Mapping[str, AnyRows], source: str) -> type[np.integer]:
    """The smaller of uint8 and int32 that holds all parts of integer images."""
    if all(x.dtype == np.uint8 for x in images.values()):
        return np.uint8
    each = [rows.bounds(x) for x in images.values()]
    low, high = min(low for low, _ in each), max(high for _, high in each)
    dtype = np.uint8 if low >= 0 and high <= 255 else np.int32
    if high > np.iinfo(dtype).max or low < np.iinfo(dtype).min:
        got, do = f"{low} to {high}", "give them as float32"
        raise InputError(source, expected="images of 32-bit integers", got=got, do=do)
    return dtype


def _image_shape(shape: tuple[int, ...]) -> _Shape:
    """The (h, w) or (h, w, 3) of an image; vectors count as square images if their length fits."""
    if len(shape) == 1:
        side = math.isqrt(shape[0])
        return (side, side) if side * side == shape[0] else None
    return shape[:2] if shape[2:] == (1,) else shape


def _class_indices(parts: _Parts, source: str) -> tuple[dict[str, np.ndarray], _Names]:
    """The labels of the parts that have any, as 0 .. K-1, and their names if they were others."""
    labels = {
        part: _checked_labels(array, len(images), f"{source} ({part} labels)")
        for part, (images, array) in parts.items()
        if array is not None
    }
    if not labels:
        return {}, None
    classes, indices = np.unique(np.concatenate([*labels.values()]), return_inverse=True)
    ends = np.cumsum([len(array) for array in labels.values()])[:-1]
    mapped = dict(zip(labels, np.split(indices.astype(np.int32), ends), strict=True))
    renamed = classes.tolist() != list(range(len(classes)))
    return mapped, tuple(map(str, classes)) if renamed else None


def _checked_labels(labels: np.ndarray, n: int, what: str) -> np.ndarray:
    """Labels, (n,), as text or as int64 of at least 0."""
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (n,):
        do = "give the index of each image's class (labels.argmax(axis=1) of one-hot labels)"
        raise InputError(what, expected=f"shape ({n},)", got=f"{labels.shape}", do=do)
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8", "replace")
    if labels.dtype.kind == "U":
        return labels
    with np.errstate(invalid="ignore"):
        integers = labels.astype(np.int64)
    if (wrong := (integers != labels) | (integers < 0)).any():
        i = int(wrong.argmax())
        got, do = f"{labels[i]} at index {i}", "correct that label or leave the image out"
        raise InputError(what, expected="integers of at least 0", got=got, do=do)
    return integers


def _drawn(
    n: int, labels: np.ndarray | None, n_parts: int, share: float | None, *, large: bool
) -> list[np.ndarray]:
    """Draw the images of parts that are held out, with every class in proportion.

    Args:
        n: Number of images.
        labels: Their classes; or None.
        n_parts: The parts to draw, each of the given share of all images.
        share: In [0, 1); None for the usual one.
        large: Whether there are more than `LARGE` bytes, of which the classes are drawn as they
            come.

    Returns:
        The indices of each part, in ascending order.
    """
    fraction = (min(0.1, HELD_OUT / n) if large else 0.1) if share is None else share
    if fraction * n_parts >= 1:
        expected = f"less than {1 / n_parts}, so that training images remain"
        raise InputError("valid_fraction", expected=expected, got=fraction, do="try 0.1")
    rng = np.random.default_rng(0)
    if large:
        drawn = rng.choice(n, n_parts * round(fraction * n), replace=False)
        return [np.sort(part) for part in np.split(drawn, n_parts)]
    classes = np.zeros(n, np.int32) if labels is None else labels
    groups = np.split(np.argsort(classes, kind="stable"), np.cumsum(np.bincount(classes))[:-1])
    groups = [group for group in groups if len(group)]  # Some classes may be in the test set only.
    position = np.empty(n)
    for group in groups:
        # The images of each class are spread evenly over [0, 1), and those with the lowest
        # positions are held out. One image per class comes last, so that it is trained on.
        shuffled = rng.permutation(group)
        position[shuffled] = (np.arange(len(group)) + rng.random()) / len(group)
        position[shuffled[-1]] = np.inf
    order = np.argsort(position, kind="stable")
    count = min(max(1, round(fraction * n)) if fraction else 0, (n - len(groups)) // n_parts)
    return [np.sort(part) for part in np.split(order[: count * n_parts], n_parts)]


def _divided(train: Split, drawn: Sequence[np.ndarray], names: Sequence[str]) -> dict[str, Split]:
    """The images that were drawn for each part, and the rest of the training images."""
    images, splits = train.images, {}
    for name, indices in zip(names, drawn, strict=True):
        labels = None if train.labels is None else train.labels[indices]
        if isinstance(images, Rows) and len(indices) * images[:1].nbytes > LARGE:
            splits[name] = Split(Selected(images, indices), labels)
        else:
            splits[name] = Split(images[indices], labels)
    left_out = np.sort(np.concatenate(drawn))
    labels = None if train.labels is None else np.delete(train.labels, left_out)
    if isinstance(images, Rows):
        splits["train"] = Split(Without(images, left_out), labels)
    else:
        splits["train"] = Split(np.delete(images, left_out, axis=0), labels)
    return splits
