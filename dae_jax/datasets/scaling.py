"""Columns of mean 0 and variance 1, and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real

from dae_jax.errors import InputError

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


def standardisation(
    x: Real[np.ndarray, "rows columns"], what: str, columns: Sequence[str] | None = None
) -> Scaling:
    """The means and standard deviations of columns; missing values are left out.

    Args:
        x: The rows; NaN is a missing value.
        what: Their name, for errors.
        columns: The names of the columns, for errors.

    Raises:
        InputError: A column has no value at all.

    >>> standardisation(np.array([[1.0, 5], [3, 5]]), "x").mean.tolist()
    [2.0, 5.0]
    """
    x = x if x.dtype.kind == "f" else x.astype(np.float32)
    counts = (~np.isnan(x)).sum(axis=0)
    if not counts.all():
        i = int(counts.argmin())
        raise InputError(
            f"column {columns[i] if columns else i} of {what}",
            expected="at least one value",
            got="none",
            do="leave it out",
        )
    mean = np.asarray(np.nanmean(x, axis=0, dtype=np.float64))
    deviation = np.nanstd(x, axis=0, dtype=np.float64)
    constant = deviation <= 10 * np.finfo(x.dtype).eps * np.abs(mean)
    return Scaling(mean, np.where(constant, 1.0, deviation))
