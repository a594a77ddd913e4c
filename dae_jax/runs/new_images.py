"""New images for a trained model: read, and checked against its card."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Split, checks, image_folder
from dae_jax.errors import InputError
from dae_jax.runs.saved import Card

__all__ = ["NewImages", "load"]

MARGIN = 0.1  # how far floats may lie outside the training images' range, in widths of it


class NewImages(NamedTuple):
    """Images (n, d) with their names, labels (n,) or None, and the names of classes 0, 1, ...

    `seen` says whether the model may have been trained on some of them.
    """

    images: np.ndarray
    names: list[str]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    seen: bool


def load(
    source: str, card: Card, part: str | None = None, image_size: tuple[int, int] | None = None
) -> NewImages:
    """Load images and check that the model takes them; pixels are not rescaled.

    Only images in files of their own are resized, to the size of the training images.

    Args:
        source: A name or a path; see `datasets.load`.
        card: The model's card.
        part: ``"train"``, ``"valid"``, ``"test"`` or ``"all"``; the test images, if any, if None.
        image_size: The (height, width) to resize to, instead of the training images'.

    Raises:
        InputError: There are no such images, or their size, kind or range is not the model's.
    """
    files = datasets.holds_image_files(source)
    if files:
        if image_size is None and card.image_shape is not None:
            image_size = card.image_shape[0], card.image_shape[1]
        x, labels, class_names = image_folder.read_image_folder(source, image_size)
        shape, parts = x.shape[1:], {"train": Split(x.reshape(len(x), -1), labels)}
    elif image_size is not None:
        raise InputError(
            "--image-size", expected="a folder of images", got=source, do="leave --image-size out"
        )
    else:
        dataset = datasets.load_whole(source)
        shape, class_names = dataset.image_shape, dataset.class_names
        parts = {name: getattr(dataset, name) for name in ("train", "valid", "test")}
    parts = {name: split for name, split in parts.items() if len(split.images)}
    part = part or ("test" if "test" in parts else "all")
    split = _part(parts, part, source)
    _check_shape(source, split.images, shape, card, files)
    _check_values(source, split.images, card)
    n = len(split.images)
    names = image_folder.image_names(source) if files else [str(i) for i in range(n)]
    if class_names is None:
        class_names = tuple(map(str, range(split.n_classes)))
    seen = Path(source) == card.source and part in ("train", "all")
    return NewImages(split.images, names, split.labels, class_names, seen)


def _part(parts: Mapping[str, Split], name: str, source: str) -> Split:
    if name == "all":
        labels = [split.labels for split in parts.values() if split.labels is not None]
        return Split(
            np.concatenate([split.images for split in parts.values()]),
            np.concatenate(labels) if len(labels) == len(parts) else None,
        )
    if name not in parts:
        raise InputError(f"--part {name}", expected=f"{', '.join(parts)} or all of {source}")
    return parts[name]


def _check_shape(
    source: str, x: np.ndarray, shape: tuple[int, ...] | None, card: Card, files: bool
) -> None:
    known = card.image_shape
    if x.shape[1] == card.pixels and (known is None or shape in (None, known)):
        return
    if not files:
        do = "prepare them as the training images were"
    elif known is None:
        do = "pass --image-size, with that of the training images"
    elif len(known) != len(shape or ()):
        do = f"convert them to {'grey' if len(known) == 2 else 'colour'}"
    else:
        do = "leave --image-size out"
    raise InputError(
        f"images of {source}",
        expected=f"{checks.in_words(known, card.pixels)}, as in training",
        got=checks.in_words(shape, x.shape[1]),
        do=do,
    )


def _check_values(source: str, x: np.ndarray, card: Card) -> None:
    kind = "integer" if np.issubdtype(x.dtype, np.integer) else "float"
    do = "scale them as the training images were, into an .npy file"
    if kind in card.limits:
        low, high = card.limits[kind]
        margin = MARGIN * (high - low) if kind == "float" else 0
        if low - margin <= x.min() and x.max() <= high + margin:
            return
        do = "scale them as the training images were, or clip them"
    accepted = [f"{name}s in {low:g} to {high:g}" for name, (low, high) in card.limits.items()]
    raise InputError(
        f"images of {source}",
        expected=f"{' or '.join(accepted)}, as in training",
        got=f"{kind}s in {x.min():g} to {x.max():g}",
        do=do,
    )
