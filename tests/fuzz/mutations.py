"""Mutations of files: edits of bytes, of numbers in text, and of JSON values."""

import copy
import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz.cases import one_of

__all__ = ["OPERATIONS", "Edit", "apply", "edits", "mutated_json"]

OPERATIONS = (
    *("flip", "set", "cut", "remove", "insert", "repeat", "zeros", "ones", "length", "swap"),
    *("number", "append", "empty", "text"),
)
_HUGE = (2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1, 10**9, 10**12, 89_000_000, 0)
_NUMBERS = (b"1" + b"0" * 12, b"-1", b"1e400", b"9" * 400, b"0", b"NaN", b"Infinity", b"1.5", b"")
_TEXTS = (
    *(b"\0", b"\x1b[31m", b"\r\n", b'"', b",", b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"x" * 300, b"x" * 200_000, b"[" * 100_000, b"../../", b"$x^{$", "\u202e\u2028".encode()),
)


class Edit(NamedTuple):
    """One change of some bytes."""

    operation: str
    at: float
    """Where, in [0, 1)."""
    size: int
    """How many bytes, at least 1."""
    value: int
    """Which value, by the operation; at least 0."""


def edits(rng: np.random.Generator) -> list[Edit]:
    """A few edits; half of them near the beginning of the file, where its header is."""
    count = int(rng.integers(1, 4))
    return [
        Edit(
            one_of(rng, OPERATIONS),
            float(rng.random()) ** one_of(rng, (1, 1, 4, 8)),
            int(2 ** rng.uniform(0, 10)),
            int(rng.integers(2**31)),
        )
        for _ in range(count)
    ]


def apply(content: bytes, changes: Sequence[Edit]) -> bytes:
    """The content with the edits, one after the other.

    >>> apply(b"abcdef", [Edit("cut", 0.5, 1, 0)]), apply(b"abc", [Edit("flip", 0.4, 1, 0)])
    (b'abc', b'acc')
    """
    for change in changes:
        content = _edited(content, change)
    return content


def _edited(content: bytes, change: Edit) -> bytes:
    operation, at, size, value = change
    i = int(at * len(content))
    rest = content[i + size :]
    noise = np.random.default_rng(value).bytes(min(size, 64))
    match operation:
        case "flip" if content:
            return content[:i] + bytes([content[i] ^ 1 << value % 8]) + content[i + 1 :]
        case "set" if content:
            return content[:i] + bytes([value % 256]) + content[i + 1 :]
        case "cut":
            return content[:i]
        case "remove":
            return content[:i] + rest
        case "insert":
            return content[:i] + noise + content[i:]
        case "repeat":
            return content[:i] + content[i : i + size] * (value % 64 + 2) + rest
        case "zeros":
            end = size if value % 4 else len(content)
            return content[:i] + bytes(len(content[i : i + end])) + content[i + end :]
        case "ones":
            return content[:i] + b"\xff" * len(content[i : i + size]) + rest
        case "length":
            width = (1, 2, 4, 8)[value % 4]
            number = _HUGE[value // 4 % len(_HUGE)] % 256**width
            order = "little" if value // 64 % 2 else "big"
            return content[:i] + number.to_bytes(width, order) + content[i + width :]
        case "swap":
            j = int((value % 997) / 997 * len(content))
            a, b = sorted((i, j))
            return content[:a] + content[b:] + content[a:b]
        case "number":
            found = list(re.finditer(rb"\d+", content))
            if found:
                one = found[int(at * len(found))]
                new = _NUMBERS[value % len(_NUMBERS)]
                return content[: one.start()] + new + content[one.end() :]
        case "append":
            return content + (noise, bytes(1 << 16), content)[value % 3]
        case "empty":
            return b"" if value % 8 == 0 else content[: size % 16]
        case "text":
            return content[:i] + _TEXTS[value % len(_TEXTS)] + content[i:]
    return content


_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 0.5, 1e308, 10**9, 10**12, 10**30, math.nan, math.inf),
    *(-math.inf, "", "x", "0", "1e9", "all", [], {}, [[]], [1], [None], {"a": 1}, [1, 2, 3]),
    *("x" * 300, "x" * 5_000, "\x1b[31mred", "a\nb", "\ud800", "$x^{$", "\u202e", "../../etc"),
    *([0] * 100, ["a"] * 3, [[1, 2], [3]], "\0", -0.0, 2**31, 2**53 + 1, "NaN", "null"),
)
_DEEP = "<deep>"


def mutated_json(rng: np.random.Generator, value: Any) -> str:
    """JSON text of the value with one to three values exchanged, removed, renamed or nested."""
    value = copy.deepcopy({"": value})
    for _ in range(int(rng.integers(1, 4))):
        holder, key = one_of(rng, list(_places(value)))
        match one_of(rng, ("other", "other", "other", "remove", "rename", "deep", "wrap", "twice")):
            case "other":
                holder[key] = copy.deepcopy(one_of(rng, _VALUES))
            case "remove" if holder is not value:
                del holder[key]
            case "rename" if isinstance(holder, dict) and holder is not value:
                holder[one_of(rng, ("x", "", "preset", "\x1b[0m", "é"))] = holder.pop(key)
            case "deep":
                holder[key] = _DEEP
            case "wrap":
                holder[key] = one_of(rng, ([holder[key]], {"x": holder[key]}))
            case "twice" if isinstance(holder, list):
                holder += [copy.deepcopy(one) for one in holder[:1] * int(rng.integers(1, 1000))]
    text = json.dumps(value.get("", None))
    depth = one_of(rng, (50, 990, 2_000, 100_000))
    opening, closing = one_of(rng, (("[", "]"), ('{"a":', "}")))
    inner = "1" if opening != "[" else ""
    return text.replace(json.dumps(_DEEP), opening * depth + inner + closing * depth)


def _places(value: Any) -> Any:
    """All places in a JSON value, as (dictionary or list, key)."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
