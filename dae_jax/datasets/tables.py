"""Read a table: a CSV or Parquet file, or a data frame, whose columns have names."""

import csv
import os
import warnings
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dae_jax import memory
from dae_jax.datasets.arrays import blaming, check_unfolded, lines
from dae_jax.errors import InputError, require

__all__ = ["LABEL", "SUFFIXES", "Table", "column_names", "header", "is_table", "read_table"]

SUFFIXES = (".csv", ".parquet")
"""The endings of tables, in lower case."""
LABEL = "label"
"""The column of the classes, if no other one is named."""
_CSV = "a CSV file in UTF-8, with commas and the names of the columns in its first line"


class Table(NamedTuple):
    """The rows of a table."""

    values: np.ndarray
    """(n, d), float64; NaN where a cell is empty."""
    labels: np.ndarray | None
    """(n,), text or integers; None without a column of classes."""
    columns: tuple[str, ...]
    """The names of the d columns."""


def is_table(path: str) -> bool:
    """Whether a path is that of a table or of a list of images, by its ending."""
    return path.lower().endswith(SUFFIXES) and os.path.isfile(path)


def header(path: str | os.PathLike[str]) -> list[str]:
    """The first line of a CSV file, without the blanks around its cells."""
    with (
        blaming(path, _CSV, "save it as one"),
        open(path, encoding="utf-8-sig", newline="") as file,
    ):
        return [cell.strip() for cell in next(csv.reader(lines(file), skipinitialspace=True), [])]


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """The names of the columns of a .csv or .parquet file."""
    if str(path).lower().endswith(".csv"):
        return header(path)
    require("pyarrow", "tables")
    from pyarrow.parquet import read_schema

    with blaming(path, "a Parquet file"):
        return list(read_schema(path).names)


def read_table(path: str | os.PathLike[str], label_column: str | None = None) -> Table:
    """Read a .csv or .parquet file of numbers.

    Empty cells are missing values. Booleans are 0 and 1. A CSV file whose first line is numbers
    has no names; its columns are called 0, 1, ...

    Args:
        path: The file.
        label_column: The column of the classes, as text or integers; None for `LABEL`, if there is
            one.

    Raises:
        InputError: It cannot be read, has no rows, two columns of one name or one that holds no
            numbers; there is no such label column, or a row has no label.
    """
    path = Path(path)
    require("pandas", "tables")
    frame = _read_csv(path) if path.suffix.lower() == ".csv" else _read_parquet(path)
    names = frame.columns = [str(name) for name in frame.columns]
    if label_column is not None and label_column not in names:
        raise InputError("--label-column", expected=f"a column of {path}", got=label_column)
    label = LABEL if label_column is None and LABEL in names else label_column
    # What pyarrow has read is decoded only here: text may be other than UTF-8.
    with blaming(path, "columns of numbers, and of text or integers for the classes"):
        labels = None if label is None else _labels(frame.pop(label), f"{label} of {path}")
        if not len(frame) or not len(frame.columns):
            got = f"{len(frame)} rows of {len(frame.columns)}"
            raise InputError(path, expected="rows of columns with numbers", got=got, do="add some")
        return Table(_numbers(frame, path), labels, tuple(frame.columns))


def _read_csv(path: Path) -> Any:
    import pandas

    names = header(path)
    if not names:
        raise InputError(path, expected=_CSV, got="an empty file", do="add the columns")
    unnamed = all(map(_is_number, names))
    if not unnamed and (twice := [a for a, b in pairwise(sorted(names)) if a == b]):
        got = f"{twice[0]} twice"
        raise InputError(path, expected="columns of different names", got=got, do="rename one")
    memory.check(path, path.stat().st_size, "give a part of it")
    with blaming(path, _CSV, "save it as one"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", pandas.errors.ParserWarning)  # cells without a column
        return pandas.read_csv(
            path,
            encoding="utf-8-sig",
            header=None,
            names=None if unnamed else names,
            skiprows=0 if unnamed else 1,
            skipinitialspace=True,
            index_col=False,
            on_bad_lines="error",
        )


def _read_parquet(path: Path) -> Any:
    require("pyarrow", "tables")
    import pandas
    from pyarrow.parquet import read_metadata

    with blaming(path, "a Parquet file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        about = read_metadata(path)
        values = 8 * about.num_rows * about.num_columns
        check_unfolded(path, values, path.stat().st_size, "save it as a .csv file")
        memory.check(path, values, "give a part of it")
        return pandas.read_parquet(path, engine="pyarrow").reset_index(drop=True)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(frame: Any, path: Path) -> np.ndarray:
    """The columns as (n, d) of float64."""
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    numeric = {kind: is_numeric_dtype(kind) or is_bool_dtype(kind) for kind in set(frame.dtypes)}
    for i, kind in enumerate(frame.dtypes):  # the columns themselves would take long, if many
        if not numeric[kind] and not (column := frame.iloc[:, i]).isna().all():
            raise InputError(
                f"column {column.name} of {path}",
                expected="numbers",
                got=repr(column.dropna().iloc[0]),
                do="turn it into numbers or leave it out; pass --label-column if it holds classes; "
                "a list of images has the columns file and label",
            )
    return frame.to_numpy(np.float64, na_value=np.nan)


def _labels(column: Any, what: str) -> np.ndarray:
    """A column of classes, as integers if all are, else as text."""
    if column.isna().any():
        line = int(column.isna().to_numpy().argmax()) + 1
        do = "add it, or put rows without a label into a file of their own, for --unlabelled"
        raise InputError(what, expected="a label in each row", got=f"none in row {line}", do=do)
    values = column.to_numpy()
    if values.dtype.kind in "biu" or (
        values.dtype.kind == "f" and (abs(values) < 2**53).all() and (values % 1 == 0).all()
    ):
        return values.astype(np.int64)
    return np.array([str(value).strip() for value in values], dtype=np.str_)
