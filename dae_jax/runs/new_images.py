"""New images for a trained model: read, and checked against its card."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from dae_jax import datasets
from dae_jax.datasets import Split, image_folder, tables
from dae_jax.errors import InputError
from dae_jax.rows import in_memory
from dae_jax.runs.cards import Card

__all__ = ["NewImages", "load"]


class NewImages(NamedTuple):
    """Images (n, d) with their names, labels (n,) or None, and the names of classes 0, 1, ...

    `seen` says whether the model may have been trained on some of them; `columns` are the names of
    a table's columns, or None.
    """

    images: np.ndarray
    names: list[str]
    labels: np.ndarray | None
    class_names: tuple[str, ...]
    seen: bool
    columns: tuple[str, ...] | None = None


def load(
    source: str,
    card: Card,
    part: str | None = None,
    image_size: tuple[int, int] | None = None,
    grey: bool = False,
) -> NewImages:
    """Load images and check that the model takes them; pixels are not rescaled.

    Only images in files of their own are resized, to the size of the training images, and read as
    grey, if those were. What there is to say about them is printed to stderr.

    Args:
        source: A name or a path; see `datasets.load`.
        card: The model's card.
        part: ``"train"``, ``"valid"``, ``"test"`` or ``"all"``; the test images, if any, if None.
        image_size: The (height, width) to resize to, instead of the training images'.
        grey: Whether to read files that are saved in colour as grey, although the training images
            were not.

    Raises:
        InputError: There are no such images, or their size, kind or range is not the model's.
    """
    files, columns = datasets.holds_image_files(source), None
    if files:
        x, labels, class_names, notices = _read_files(source, card, image_size, grey)
        shape, parts = x.shape[1:], {"train": Split(in_memory(x).reshape(len(x), -1), labels)}
    elif image_size is not None or grey:
        flag = "--grey" if image_size is None else "--image-size"
        raise InputError(flag, expected="a folder of images", got=source, do=f"leave {flag} out")
    else:
        dataset = datasets.load_whole(source, label_column=_label_column(source, card))
        shape, class_names, notices = dataset.image_shape, dataset.class_names, dataset.notices
        columns = dataset.columns
        _check_columns(source, columns, card.columns)
        parts = {name: getattr(dataset, name) for name in ("train", "valid", "test")}
    parts = {name: split for name, split in parts.items() if len(split.images)}
    part = part or ("test" if "test" in parts else "all")
    split = _part(parts, part, source)
    images = in_memory(split.images)
    what, n_values = f"images of {source}", split.images.shape[1]
    card.check_shape(what, n_values, shape, _alike(shape, card.image_shape, files))
    card.check_values(what, images)
    for notice in notices:
        print(notice, file=sys.stderr)
    n = len(split.images)
    names = image_folder.image_names(source) if files else [str(i) for i in range(n)]
    if class_names is None:
        class_names = tuple(map(str, range(split.n_classes)))
    seen = Path(source) == card.source and part in ("train", "all")
    return NewImages(images, names, split.labels, class_names, seen, columns)


def _label_column(source: str, card: Card) -> str | None:
    """The column of classes of the training table, if the new table has it, too."""
    named = tables.is_table(source) and card.label_column in tables.column_names(source)
    return card.label_column if named else None


def _check_columns(
    source: str, columns: tuple[str, ...] | None, known: tuple[str, ...] | None
) -> None:
    """Check that a table has the columns of the training table, in their order."""
    if columns is None or known is None or columns == known:
        return
    if len(columns) != len(known):
        expected, got = f"{len(known)}, as in training", f"{len(columns)}"
    else:
        i = next(i for i, pair in enumerate(zip(columns, known, strict=True)) if len(set(pair)) > 1)
        expected, got = f"{known[i]} as number {i + 1}, as in training", columns[i]
    do = "give the columns of the training table, in their order"
    raise InputError(f"columns of {source}", expected=expected, got=got, do=do)


def _read_files(
    source: str, card: Card, image_size: tuple[int, int] | None, grey: bool
) -> image_folder.ImageFiles:
    """Read image files in the size and, if it was trained with ``--grey``, the grey of a model."""
    known = card.image_shape
    in_colour = known is not None and len(known) == 3
    if in_colour and grey:
        expected, got, do = "a model of grey images", "one of colour images", "leave --grey out"
        raise InputError("--grey", expected=expected, got=got, do=do)
    if image_size is None and known is not None:
        image_size = known[0], known[1]
    if image_size is not None and min(image_size) > 0:
        _check_size(f"images of {source}", image_size, card)
    if_mixed = "convert the grey ones to colour" if in_colour else image_folder.MIXED
    return image_folder.read_image_folder(source, image_size, grey or card.grey, if_mixed=if_mixed)


def _check_size(what: str, size: tuple[int, int], card: Card) -> None:
    """Check a size before images are stretched to it; they may have three colours."""
    n = math.prod(size)
    if n not in (card.pixels, card.pixels / 3):
        card.check_shape(what, n, size, _alike(size, card.image_shape, files=True))


def _part(parts: Mapping[str, Split], name: str, source: str) -> Split:
    if name == "all":
        labels = [split.labels for split in parts.values() if split.labels is not None]
        return Split(
            np.concatenate([in_memory(split.images) for split in parts.values()]),
            np.concatenate(labels) if len(labels) == len(parts) else None,
        )
    if name not in parts:
        raise InputError(f"--part {name}", expected=f"{', '.join(parts)} or all of {source}")
    return parts[name]


def _alike(shape: tuple[int, ...] | None, known: tuple[int, ...] | None, files: bool) -> str:
    """How to make images like the training images, whose shape is `known`, or is not."""
    if not files:
        return "prepare them as the training images were"
    if known is None:
        return "pass --image-size, with that of the training images"
    if len(known) != len(shape or ()):
        return "pass --grey to read them as grey" if len(known) == 2 else "convert them to colour"
    return "leave --image-size out"
