"""Read a CSV file of labels: the names of image files, and the class of each."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from dae_jax.datasets.arrays import blaming, lines
from dae_jax.errors import InputError

__all__ = ["COLUMNS", "read_label_file", "some"]

COLUMNS = ("file", "label")
"""The columns that are read; there may be others."""


def read_label_file(path: str | os.PathLike) -> dict[str, str]:
    """Read a CSV file in UTF-8 whose header has the columns ``file`` and ``label``.

    Blanks around names and labels, and blank lines, are skipped.

    Args:
        path: The CSV file. The names in it are relative to its folder.

    Returns:
        The label of each file, in the order of the lines.

    Raises:
        InputError: It is not such a file, or has no lines; a name or a label is empty; a file is
            listed twice, is missing, or lies outside the folder; or labels contradict the names of
            the folders that their images are in.
    """
    path, labels = Path(path), {}
    with (
        blaming(path, "a CSV file in UTF-8", "save it as one"),
        open(path, encoding="utf-8-sig", newline="") as file,
    ):
        rows = csv.reader(lines(file), skipinitialspace=True, strict=True)
        columns = _columns(path, next(rows, []))
        for row in rows:
            cells = [cell.strip() for cell in row]
            if any(cells):
                name, label = (cells[i] if i < len(cells) else "" for i in columns)
                _add(labels, name, label, path, rows.line_num)
    if not labels:
        got, do = "a header alone", "add the lines"
        raise InputError(path, expected="a line for each image", got=got, do=do)
    _check_exist(path, labels)
    _check_folders(path, labels)
    return labels


def _columns(path: Path, header: Sequence[str]) -> list[int]:
    """The places of the two columns in a line."""
    names = [name.strip() for name in header]
    if any(names.count(column) != 1 for column in COLUMNS):
        raise InputError(
            path,
            expected="the columns file and label, once each, in the first line",
            got=", ".join(names) or "an empty one",
            do="name them there, with commas between; or save arrays as .npz",
        )
    return [names.index(column) for column in COLUMNS]


def _add(labels: dict[str, str], name: str, label: str, path: Path, line: int) -> None:
    """Add one line of the file to the labels."""
    where, file = f"{path}, line {line}", Path(os.path.normpath(name)).as_posix()
    if not name or not label:
        expected = f"a label for {name}" if name else "the name of a file"
        raise InputError(where, expected=expected, got="none", do="add it or remove the line")
    if file.startswith("../") or os.path.isabs(file):
        do = "put the CSV file above its images, and write their paths from there"
        raise InputError(where, expected=f"a file below {path.parent}", got=name, do=do)
    if file in labels:
        same = labels[file] == label
        got = f"{file} again" if same else f"labels that contradict: {labels[file]} and {label}"
        expected = "each file once" if same else f"one label for {file}"
        raise InputError(where, expected=expected, got=got, do="remove one of the lines")
    labels[file] = label


def _check_exist(path: Path, labels: dict[str, str]) -> None:
    missing = [name for name in labels if not os.path.isfile(path.parent / name)]
    if missing:
        raise InputError(
            path,
            expected=f"files in {path.parent}",
            got=f"{len(missing):,} of {len(labels):,} that are missing ({some(missing)})",
            do="correct the names, which are relative to the CSV file, or remove the lines",
        )


def _check_folders(path: Path, labels: dict[str, str]) -> None:
    """Check images in a folder that has the name of a class."""
    classes, folders = set(labels.values()), {name: Path(name).parent.name for name in labels}
    wrong = [name for name in labels if folders[name] in classes - {labels[name]}]
    if wrong:
        raise InputError(
            path,
            expected="images in the folder of their class, or of none",
            got=f"labels that contradict folders: {wrong[0]} is {labels[wrong[0]]}"
            + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else ""),
            do="correct the labels, move the images or rename the folders",
        )


def some(names: Sequence[str]) -> str:
    """The first five names, for an error."""
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
