"""Columns of mean 0 and variance 1, and back."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from dae_jax import rows
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows, Rows

__all__ = ["Scaling", "standardisation"]


class Scaling(NamedTuple):
    """The mean and the standard deviation of each of d columns."""

    mean: Float[np.ndarray, "columns"]
    deviation: Float[np.ndarray, "columns"]
    """1 for a column that is constant."""

    def apply(self, x: Real[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
        """Rows in units of the deviations from the means, float32; computed in float64."""
        return ((x - self.mean) / self.deviation).astype(np.float32)

    def undo(self, x: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "rows columns"]:
        """Rows in their own units, in the type of x; computed in float64."""
        return (x * self.deviation + self.mean).astype(x.dtype)


def standardisation(x: AnyRows, what: str, columns: Sequence[str] | None = None) -> Scaling:
    """The means and standard deviations of columns; missing values are left out.

    Args:
        x: The rows, (n, d); NaN is a missing value.
        what: Their name, for errors.
        columns: The names of the columns, for errors.

    Raises:
        InputError: A column has no value at all.

    >>> standardisation(np.array([[1.0, 5], [3, 5]]), "x").mean.tolist()
    [2.0, 5.0]
    """
    dtype = x.dtype if x.dtype.kind == "f" else np.dtype(np.float32)
    counts = sum((~np.isnan(part)).sum(axis=0) for part in _parts(x))
    assert isinstance(counts, np.ndarray)
    if not counts.all():
        i = int(counts.argmin())
        raise InputError(
            f"column {columns[i] if columns else i} of {what}",
            expected="at least one value",
            got="none",
            do="leave it out",
        )
    if isinstance(x, Rows):
        sums = (np.nansum(part, axis=0, dtype=np.float64) for part in _parts(x))
        mean = np.asarray(sum(sums)) / counts
        squares = (np.nansum((part - mean) ** 2, axis=0) for part in _parts(x))
        deviation = np.sqrt(np.asarray(sum(squares)) / counts)
    else:
        values = x.astype(dtype, copy=False)
        mean = np.asarray(np.nanmean(values, axis=0, dtype=np.float64))
        deviation = np.nanstd(values, axis=0, dtype=np.float64)
    constant = deviation <= 10 * np.finfo(dtype).eps * np.abs(mean)
    return Scaling(mean, np.where(constant, 1.0, deviation))


def _parts(x: AnyRows) -> Iterator[np.ndarray]:
    """The rows in parts, as floats."""
    for part in rows.parts(x):
        yield part if part.dtype.kind == "f" else part.astype(np.float32)
