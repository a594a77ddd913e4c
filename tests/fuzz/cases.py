"""Cases: drawn from (seed, part, number), judged by what they leave, repeated by a command."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LONGEST", "PARTS", "Result", "generator", "one_of", "repeat", "stray", "wording"]

PARTS = ("readers", "commands", "kills", "faults")
LONGEST = 1_100
"""The most characters of an error, which may repeat a path or a value that is cut to fit."""
_WARNING = re.compile(r"\b\w*Warning\b|^[WE]\d{4} ", re.MULTILINE)


class Result(NamedTuple):
    """What came of a case."""

    kind: str
    """The kind of case: a row of the table."""
    faults: tuple[str, ...] = ()
    """What did not hold; nothing if all did."""
    about: str = ""
    """The case in words, for whoever repeats it."""


def generator(seed: int, part: str, case: int) -> np.random.Generator:
    """The random numbers of a case."""
    return np.random.default_rng([seed, PARTS.index(part), case])


def repeat(seed: int, part: str, case: int) -> str:
    """The command that repeats a case."""
    return f"python -m tests.fuzz --only {part} --seed {seed} --case {case}"


def one_of(rng: np.random.Generator, choices: Sequence[Any]) -> Any:
    """One of the choices, as it is: NumPy's own choice would make an array of them."""
    return choices[int(rng.integers(len(choices)))]


def wording(message: str) -> list[str]:
    """What is wrong with the text of an error: more than one line, unprintable, too long.

    >>> wording("corruption: expected a level in [0, 1], got 1.5"), wording("a\\x1b[31mb")
    ([], ['unprintable: U+001B'])
    """
    faults = []
    if "\n" in message:
        faults.append(f"{message.count(chr(10)) + 1} lines")
    odd = {c for c in message if c != "\n" and unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    if odd:
        faults.append("unprintable: " + " ".join(f"U+{ord(c):04X}" for c in sorted(odd)))
    if len(message) > LONGEST:
        faults.append(f"{len(message)} characters")
    return faults


def stray(err: str) -> list[str]:
    """What should not be on stderr, whatever the status: tracebacks, escapes, warnings.

    >>> stray("error: no such file\\n"), stray("x.py:3: UserWarning: odd\\n")
    ([], ['a warning: x.py:3: UserWarning: odd'])
    """
    faults = []
    lines = err.splitlines()
    if "Traceback" in err:
        last = next((line for line in reversed(lines) if re.match(r"[\w.]+(:|$)", line)), "")
        faults.append(f"a traceback: {last[:200]}")
    if "\x1b" in err:
        faults.append("an escape sequence")
    if (found := _WARNING.search(err)) and not faults:
        line = err[: found.end()].count("\n")
        faults.append(f"a warning: {lines[line][:200]}")
    return faults
