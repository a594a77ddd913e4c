"""Checks of a data set before a training command uses it."""

import math
from collections.abc import Sequence

import numpy as np

from dae_jax import datasets, rows
from dae_jax.datasets import Dataset, image_folder
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows

__all__ = [
    "check_budget",
    "check_comparison",
    "check_complete",
    "check_labels",
    "check_range",
    "check_shift",
    "check_varied",
    "in_words",
    "with_unlabelled",
]


def check_range(
    name: str, images: AnyRows, pixel_scale: float, cost: str, *, linear: bool, do: str = ""
) -> None:
    """Check that the decoder can reconstruct the pixels.

    Args:
        name: The name of the data set, for the error.
        images: The images to train on.
        pixel_scale: Divisor of integer pixels.
        cost: The objective, for the error.
        linear: Whether the decoder is linear, which can reconstruct any value.
        do: The advice, if it is not to change the pixel scale, the cost or the decoder.

    Raises:
        InputError: Values outside [0, 1] after scaling.
    """
    if linear or (images.dtype == np.uint8 and pixel_scale >= np.iinfo(np.uint8).max):
        return
    integers = np.issubdtype(images.dtype, np.integer)
    scale = pixel_scale if integers else 1
    least, most = rows.bounds(images)
    low, high = least / scale, most / scale
    if low >= 0 and high <= 1:
        return
    usual = (
        f"pass --pixel-scale {most}"
        if integers and low >= 0
        else "scale them to [0, 1], or use --cost squared-error --decoder linear, which fits any"
    )
    raise InputError(
        f"pixels of {name}",
        expected=f"values in [0, 1] for --cost {cost} with a sigmoid decoder",
        got=f"{low:.4g} to {high:.4g}",
        do=do or usual,
    )


def check_complete(name: str, *images: AnyRows) -> None:
    """Check that no value is missing.

    Args:
        name: The name of the data set, for the error.
        *images: Its images or rows, each (n, d).

    Raises:
        InputError: Some are, as NaN.
    """
    for own in images:
        before = 0
        for part in rows.parts(own) if own.dtype.kind == "f" else ():
            if (missing := np.isnan(part)).any():
                i, j = divmod(int(missing.argmax()), part.shape[1])
                n = rows.missing(own)
                raise InputError(
                    f"values of {name}",
                    expected="none that is missing",
                    got=f"{n:,} that are NaN, the first in row {before + i} at column {j}",
                    do="fill them in, by python -m dae_jax.train --data DATA and then "
                    "python -m dae_jax.transform RUN DATA --impute",
                )
            before += len(part)


def with_unlabelled(
    dataset: Dataset,
    unlabelled: str,
    image_size: tuple[int, int] | None,
    grey: bool = False,
    leave: float = math.inf,
) -> Dataset:
    """Add more images of the same kind, without labels, to a data set.

    Image files beside arrays are resized to the size of the arrays, which have no other.

    Args:
        dataset: The data set with labels; those of its images that are files are not added again.
        unlabelled: Name or path of the other images; labels that they have are ignored.
        image_size: The (height, width) that image files are resized to; or None.
        grey: Whether image files that are saved in colour are read as grey.
        leave: See `datasets.load`.

    Raises:
        InputError: The other images have another size or kind.
    """
    what, own, shape = f"--unlabelled {unlabelled}", dataset.train.images, dataset.image_shape
    files, more_files = map(datasets.holds_image_files, (dataset.source, unlabelled))
    if more_files:
        if image_size is None and shape is not None and not files:
            image_size = shape[0], shape[1]
        more = image_folder.read_without_labels(
            unlabelled,
            image_size,
            grey,
            leave_out=image_folder.image_files(dataset.source) if files else (),
            leave=leave,
            if_mixed=image_folder.MIXED if files else "convert them to the same",
        )
        images, source = rows.flat(more.images, np.uint8), unlabelled
        more_shape, notices = more.images.shape[1:], more.notices
    else:
        whole = datasets.load_whole(unlabelled, leave=leave)
        images, source = whole.train.images, whole.source
        more_shape, notices = whole.image_shape, whole.notices
    if own.shape[1] != images.shape[1] or shape != more_shape:
        raise InputError(
            what,
            expected=f"images of {_described(shape, own.shape[1])}, like those with labels",
            got=_described(more_shape, images.shape[1]),
            do=_alike(shape, more_shape, files, more_files),
        )
    if own.dtype != images.dtype:
        raise InputError(
            what,
            expected=f"{own.dtype} pixels, like those with labels",
            got=images.dtype,
            do="prepare both alike",
        )
    for notice in notices:
        print(notice)
    print(f"{len(images):,} images without labels for pretraining, from {source}")
    return dataset._replace(unlabelled=images)


def _alike(
    shape: tuple[int, ...] | None, more: tuple[int, ...] | None, files: bool, more_files: bool
) -> str:
    """How to make images with labels and more images alike; files can be converted when read."""
    if files and shape is not None and more is not None:
        if len(shape) == len(more):
            height, width = shape[:2] if more_files else more[:2]
            return f"pass --image-size {height} {width}"
        if more_files or len(shape) == 3:  # those in colour are files
            return "pass --grey to read both as grey"
    return "prepare both alike"


def _described(image_shape: tuple[int, ...] | None, n_pixels: int) -> str:
    colour = " in colour" if image_shape is not None and len(image_shape) == 3 else ""
    return in_words(image_shape, n_pixels) + colour


def in_words(image_shape: tuple[int, ...] | None, n_pixels: int) -> str:
    """The size of an image, for messages."""
    return f"{n_pixels} values" if image_shape is None else " x ".join(map(str, image_shape))


def check_labels(dataset: Dataset) -> None:
    """Check that a classifier can be trained on the labels, and print the names of the classes.

    Raises:
        InputError: No labels, a single class, or a class without a training image.
    """
    train = dataset.train
    if train.labels is None:
        raise InputError(
            f"labels of {dataset.name}",
            expected="a class for each training image",
            got="none",
            do="give y in the .npz, one folder per class, or a .csv file with the columns file and "
            "label; pass images without labels to --unlabelled",
        )
    n_classes = max(part.n_classes for part in (train, dataset.valid, dataset.test))
    counts = np.bincount(train.labels, minlength=n_classes)
    names = dataset.class_names or tuple(map(str, range(n_classes)))
    if n_classes < 2:
        raise InputError(f"classes of {dataset.name}", expected="at least 2", got=names[0])
    if not counts.all():
        missing = ", ".join(names[i] for i in np.flatnonzero(counts == 0))
        raise InputError(
            f"training images of {dataset.name}",
            expected="some of each class",
            got=f"none of {missing}",
            do="add some, or leave that class out of the test images, too",
        )
    if names != tuple(map(str, range(n_classes))):
        words = ", ".join(f"{name} = {i}" for i, name in enumerate(names[:10]))
        print(f"classes: {words}{', ...' if n_classes > 10 else ''}")


def check_shift(dataset: Dataset, furthest: int) -> None:
    """Check that images can be shifted so far; vectors cannot be shifted.

    Raises:
        InputError: A distance of the image's height or width or more, or an unknown image shape.
    """
    shape = dataset.image_shape
    limit = min(shape[:2]) - 1 if shape else 0
    if not 0 <= furthest <= limit:
        kind = in_words(shape, dataset.train.images.shape[1])
        allowed = f"0 to {limit}" if limit else "0"
        raise InputError(
            "--shift",
            expected=f"{allowed} for images of {kind}",
            got=furthest,
            do="--shift 0 leaves them in place",
        )


def check_budget(dataset: Dataset, budget: int) -> None:
    """Check a number of training images that keep their labels.

    Raises:
        InputError: Fewer than classes, or more than images.
    """
    n_classes, n = dataset.train.n_classes, len(dataset.train.images)
    if not n_classes <= budget <= n:
        raise InputError(
            "--labels",
            expected=f"{n_classes} (one for each class) to {n}, the training images, or all",
            got=budget,
        )


def check_varied(name: str, images: AnyRows) -> None:
    """Check that images differ.

    Args:
        name: The name of the data set, for the error.
        images: The images to train on, (n, pixels).

    Raises:
        InputError: All images are the same.
    """
    if all((part == images[0]).all() for part in rows.parts(images)):
        got = f"{len(images):,} that are all the same"
        raise InputError(f"images of {name}", expected="images that differ", got=got)


def check_comparison(dataset: Dataset, budgets: Sequence[int | str], n_seeds: int) -> None:
    """Check that classifiers can be compared at these numbers of labels.

    Args:
        dataset: The data set, with labels.
        budgets: Numbers of labels, or ``"all"``.
        n_seeds: Number of seeds.

    Raises:
        InputError: Fewer labels than classes or more than there are, a single seed, or no labelled
            images to validate and to test with.
    """
    for budget in budgets:
        if isinstance(budget, int):
            check_budget(dataset, budget)
    if n_seeds < 2:
        expected = "at least 2 to compare, or there is no interval"
        raise InputError("--seeds", expected=expected, got=n_seeds)
    held_out = dataset.valid, dataset.test
    if not all(len(part.images) and part.labels is not None for part in held_out):
        raise InputError(
            "--compare", expected="labelled images to validate and to test with", got="none"
        )
