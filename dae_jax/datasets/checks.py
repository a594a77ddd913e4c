"""What the training commands ask of the data, before they train on it."""

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Dataset
from dae_jax.errors import InputError
from dae_jax.settings import train as config


def load(asked: config.Data) -> tuple[Dataset, bool]:
    """The data set that the flags ask for.

    Returns:
        The data set; and whether it is the sample, because MNIST is not to be had: which is said.
    """
    how = {"valid_fraction": asked.valid_fraction, "image_size": asked.image_size}
    if asked.data is not None:
        return datasets.load(asked.data, **how), False
    dataset = datasets.load_default(**how)
    instead = dataset.name != "mnist"
    if instead:
        print(f"*** MNIST is not to be had: training on {dataset.name} ({dataset.source}) ***")
    return dataset, instead


def check_range(
    name: str, images: np.ndarray, pixel_scale: float, cost: str, *, linear: bool
) -> None:
    """Refuse pixels that a sigmoid decoder cannot give back.

    Args:
        name: What the images are called.
        images: Those to train on.
        pixel_scale: What integer pixels are divided by.
        cost: What is minimised.
        linear: Whether the decoder is linear, which can give anything back.

    Raises:
        InputError: Values outside [0, 1] after scaling.
    """
    if linear:
        return
    integers = np.issubdtype(images.dtype, np.integer)
    scale = pixel_scale if integers else 1
    low, high = images.min() / scale, images.max() / scale
    if low >= 0 and high <= 1:
        return
    raise InputError(
        f"pixels of {name}",
        expected=f"values in [0, 1] for --cost {cost} with a sigmoid decoder",
        got=f"{low:.4g} to {high:.4g}",
        do=f"pass --pixel-scale {images.max()}"
        if integers and low >= 0
        else "scale them to [0, 1], or use --cost squared-error --decoder linear, which fits any",
    )


def with_more(dataset: Dataset, unlabelled: str, image_size: tuple[int, int] | None) -> np.ndarray:
    """The training images of a data set, and more of their kind from elsewhere, without labels.

    Raises:
        InputError: They are of another size or kind.
    """
    own = dataset.train.images
    size = None
    if datasets.holds_image_files(unlabelled):
        known = dataset.image_shape
        size = image_size or (None if known is None else (known[0], known[1]))
    more = datasets.load_whole(unlabelled, image_size=size)
    shapes = dataset.image_shape, more.image_shape
    if own.shape[1] != more.train.images.shape[1] or shapes[0] != shapes[1]:
        raise InputError(
            f"--unlabelled {unlabelled}",
            expected=f"images of {in_words(shapes[0], own.shape[1])}, like those with labels",
            got=in_words(shapes[1], more.train.images.shape[1]),
            do="pass --image-size, or prepare both alike",
        )
    if own.dtype != more.train.images.dtype:
        raise InputError(
            f"--unlabelled {unlabelled}",
            expected=f"{own.dtype} pixels, like those with labels",
            got=more.train.images.dtype,
            do="prepare both alike",
        )
    print(f"{len(more.train.images):,} images without labels for pretraining, from {more.source}")
    return np.concatenate([own, more.train.images])


def in_words(image_shape: tuple[int, ...] | None, n_pixels: int) -> str:
    """The size of an image, for people."""
    return f"{n_pixels} values" if image_shape is None else " x ".join(map(str, image_shape))


def check_labels(dataset: Dataset) -> None:
    """Refuse what no classifier can be trained on, and say what the classes are called.

    Raises:
        InputError: No labels, only one class, or a class without an example to train on.
    """
    train = dataset.train
    if train.labels is None:
        raise InputError(
            f"labels of {dataset.name}",
            expected="a class for each training image",
            got="none",
            do="give y in the .npz or a folder a class; images without labels go to --unlabelled",
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
    """Refuse to move images out of sight, and vectors at all.

    Raises:
        InputError: As far as an image is high or wide, or images of unknown shape.
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
