"""What was published of a number, and the band that it has to lie in when it is measured again."""

import math
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Claim:
    """A measured number, what was published of it, and where it has to lie."""

    number: str
    published: str
    low: float = -math.inf
    high: float = math.inf
    of: Literal["mean", "first"] = "mean"  # of all seeds, or the first, where that one is exact

    @property
    def band(self) -> str:
        """The band in words, in the number's own unit."""
        low, high = (in_words(self.number, bound, 7) for bound in (self.low, self.high))
        if math.isinf(self.low):
            return f"≤ {high}"
        return f"≥ {low}" if math.isinf(self.high) else f"{low} to {high}"

    def value(self, numbers: dict[str, Any]) -> float:
        """What it is about, out of a report's mean and values of all seeds."""
        return numbers["values"][0] if self.of == "first" else numbers["mean"]

    def holds(self, value: float) -> bool:
        """Whether a value lies in the band; NaN does not."""
        return self.low <= value <= self.high


def is_share(number: str) -> bool:
    """Whether a number is a share of images, which reads best in per cent."""
    return number.endswith(" error")


def in_words(number: str, value: float, digits: int = 4) -> str:
    """A value of that number, with the digits that mean something.

    >>> in_words("mlp: test error", 0.01623), in_words("total cost", 652088.7)
    ('1.62 %', '652,089')
    """
    if is_share(number):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"
