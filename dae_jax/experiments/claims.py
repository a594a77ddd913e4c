r"""Claims about measured numbers: reproduced, improved, shown; their intervals and verdicts.

A reproduced number comes from the published setting. The published value is one run of it, so the
question is whether one more run of ours could give it: whether it lies in the 95 % prediction
interval of the runs that were made,

.. math:: \bar v \pm t_{n-1}\, s \sqrt{1 + 1/n}

(Hahn & Meeker, "Statistical Intervals", 1991, section 4.7). A printed value stands for all that
round to it: .8 for .75 to .85. A value that is exact, since nothing in it is random, must be the
same in all printed digits. An improved number comes from a
recipe of our own, whose mean must be better than the published value, with its whole 95 %
interval. A shown number describes a picture of which the source gives no number, and has no
verdict.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from dae_jax.errors import InputError
from dae_jax.evaluation import mean_interval

__all__ = [
    "Claim",
    "Improved",
    "Interval",
    "Reproduced",
    "Shown",
    "check_seeds",
    "in_words",
    "is_share",
    "judged",
    "prediction_interval",
    "value_of",
]

Better = Literal["lower", "higher", "neither"]


class Interval(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


def prediction_interval(values: Sequence[float], number: str = "the number") -> Interval:
    r"""The 95 % interval for one more run: :math:`\bar v \pm t_{n-1} s \sqrt{1 + 1/n}`.

    Args:
        values: One number per run, at least two.
        number: Its name, for the error.

    Raises:
        InputError: A single run.

    >>> low, high = prediction_interval([1.0, 2.0, 3.0])  # s = 1; t = 4.303
    >>> round(low, 3), round(high, 3)
    (-2.968, 6.968)
    """
    if len(values) < 2:
        raise InputError(
            f"interval of {number}",
            expected="at least 2 seeds",
            got=len(values),
            do="run the experiment with all of its seeds",
        )
    mean, half = mean_interval(values)
    half *= math.sqrt(len(values) + 1)  # from the mean of n runs to one more run
    return Interval(mean - half, mean + half)


def check_seeds(claims: Sequence["Claim"], seeds: Sequence[int]) -> None:
    """Check that there are seeds enough for the intervals of all claims.

    Raises:
        InputError: A claim needs an interval, and there is one seed.
    """
    for claim in claims:
        if len(seeds) < 2 and not (isinstance(claim, Shown) or getattr(claim, "exact", False)):
            prediction_interval(seeds, claim.number)


def is_share(number: str) -> bool:
    """Whether a number is a share of images, to be printed in per cent."""
    return number.endswith(" error")


def in_words(number: str, value: float, digits: int = 4) -> str:
    """A value of that number, with its significant digits.

    >>> in_words("mlp: test error", 0.01623), in_words("total cost", 652088.7)
    ('1.62 %', '652,089')
    """
    if is_share(number):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def value_of(published: str) -> tuple[float, float]:
    """The value of a published number as it was printed, and half a unit of its last digit.

    >>> value_of("1.65 %"), value_of("675,218"), value_of("+.01")
    ((0.0165, 5e-05), (675218.0, 0.5), (0.01, 0.005))
    """
    found = re.fullmatch(r"([+-]?)(?=\.?\d)(\d[\d,]*|)(?:\.(\d+))?( %)?", published)
    if found is None:
        raise ValueError(f"not a number: {published!r}")
    sign, whole, decimals, percent = found.groups()
    digits = len(decimals or "") + (2 if percent else 0)
    value = float(f"{whole.replace(',', '') or 0}.{decimals or 0}e{-2 if percent else 0}")
    return (-value if sign == "-" else value), float(f"5e-{digits + 1}")


@dataclass(frozen=True)
class Reproduced:
    """A number of the published setting, and its published value."""

    number: str
    published: str  # as printed
    exact: bool = False
    """Whether nothing in it is random, so that it must be the same in all published digits."""
    better: Better = "lower"
    """The better side; on the wrong side, or outside at all with ``"neither"``, it is worse."""

    kind = "reproduced"

    def interval(self, values: Sequence[float]) -> Interval:
        """The interval in which a published value agrees with the measured ones."""
        if self.exact:
            return Interval(*[float(values[0])] * 2)
        return prediction_interval(values, self.number)

    def verdict(self, values: Sequence[float]) -> str:
        """``"agrees"``, ``"better"`` or ``"worse"``; a number that is not finite is worse."""
        if not np.isfinite(values).all():
            return "worse"
        published, half_unit = value_of(self.published)
        low, high = self.interval(values)
        half_unit *= 1 + 1e-9  # 7.50 % are .075 in binary, to rounding
        if low - half_unit <= published <= high + half_unit:
            return "agrees"
        lower = high < published
        return "better" if self.better == ("lower" if lower else "higher") else "worse"


@dataclass(frozen=True)
class Improved:
    """A number of a recipe of our own, beside the published one."""

    number: str
    published: str
    differs: str
    """The differences from the published setting."""
    chosen: str
    """The choice of the recipe: by validation images, and of which seeds."""
    better: Better = "lower"

    kind = "improved"

    def interval(self, values: Sequence[float]) -> Interval:
        """The 95 % interval of the mean."""
        prediction_interval(values, self.number)  # of at least two runs
        mean, half = mean_interval(values)
        return Interval(mean - half, mean + half)

    def verdict(self, values: Sequence[float]) -> str:
        """``"better"`` if the whole interval of the mean is, else ``"not better"``."""
        published, _ = value_of(self.published)
        low, high = self.interval(values)
        better = high < published if self.better == "lower" else low > published
        return "better" if better else "not better"


@dataclass(frozen=True)
class Shown:
    """A number that describes our version of a picture; the source gives none."""

    number: str
    picture: str = "figure"
    """The picture in the source."""

    kind = "shown"
    published = ""

    def interval(self, values: Sequence[float]) -> None:
        """Nothing to compare with."""

    def verdict(self, values: Sequence[float]) -> None:
        """No verdict."""


Claim = Reproduced | Improved | Shown
"""A number of an experiment, with what is claimed of it."""


def judged(claim: Claim, numbers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A claim with its measured values, for a report."""
    values = numbers[claim.number]["values"]
    interval = claim.interval(values)
    return {
        "kind": claim.kind,
        "number": claim.number,
        "published": claim.published or None,
        "interval": None if interval is None else list(map(float, interval)),
        "verdict": claim.verdict(values),
    }
