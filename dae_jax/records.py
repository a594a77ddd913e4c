"""Read the JSON records of a run: one reader, which checks every value against a type.

Its errors name the file, the field, what was expected and what was there.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from dae_jax.errors import InputError

__all__ = ["CHECKSUM", "LARGEST", "checked", "load", "parse", "signed", "verified"]

CHECKSUM = "sha256"
"""The name of a record's checksum among its entries."""
LARGEST = 2**26
"""The size in bytes of the largest record that is read."""
_MISSING = re.compile(r"Object missing required field (?P<name>.+)")
_EXPECTED = re.compile(r"Expected (?P<expected>.+), got (?P<got>.+)")


def load(path: str | os.PathLike[str], kind: Any, do: str = "") -> Any:
    """The record in a JSON file.

    Args:
        path: The file, in UTF-8.
        kind: The type of the record; see `checked`.
        do: The remedy that an error names.

    Raises:
        InputError: It cannot be read, is too large or no JSON, or its values are of other types.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", do=do) from error
    if len(content) > LARGEST:
        got, expected = "a larger file", f"a record of at most {LARGEST:,} bytes"
        raise InputError(path, expected=expected, got=got, do=do)
    return parse(content, kind, str(path), do)


def parse(content: str | bytes, kind: Any, what: str, do: str = "") -> Any:
    """The record that JSON text holds.

    Args:
        content: The text.
        kind: The type of the record; see `checked`.
        what: The file, for the error.
        do: The remedy that an error names.

    Raises:
        InputError: It is no JSON, or its values are of other types.
    """
    try:
        text = content if isinstance(content, str) else content.decode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        got = "objects in one another too deeply" if isinstance(error, RecursionError) else error
        raise InputError(what, expected="JSON", got=got, do=do) from error
    return checked(value, kind, what, do)


def checked(value: Any, kind: Any, what: str, do: str = "") -> Any:
    """A value of JSON as the type that it should have, without conversions such as of 1 to "1".

    Args:
        value: Objects, lists, strings, numbers, booleans, None.
        kind: A dataclass, NamedTuple, TypedDict or type of builtins; lists become its tuples.
        what: The file, for the error.
        do: The remedy that an error names.

    >>> checked([1, 2], tuple[float, ...], "a.json")
    (1.0, 2.0)

    Raises:
        InputError: A value has another type; the first one is named.
    """
    import msgspec  # 50 ms, which --help need not wait for

    try:
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError, UnicodeError) as error:
        problem, _, place = str(error).partition(" - at `$")
        field = place.rstrip("`").removeprefix(".")
        if found := _EXPECTED.fullmatch(problem):
            expected, got = found["expected"], found["got"]
        elif found := _MISSING.fullmatch(problem):
            expected, got = f"a field {found['name']}", "none"
        else:
            expected, got = "a record as this version writes it", problem
        where = f"{field} in {what}" if field else what
        facts = {"expected": expected.replace("`", ""), "got": got.replace("`", "")}
        raise InputError(where, **facts, do=do) from error


def signed(record: Mapping[str, Any], name: str = CHECKSUM) -> dict[str, Any]:
    """A record's entries with the SHA-256 of all others as `json.dumps` has them.

    Args:
        record: The entries.
        name: The name of the checksum, which comes last.

    >>> signed({"format": 2})["sha256"][:8]
    '3da2733d'
    """
    others = {key: value for key, value in record.items() if key != name}
    return others | {name: hashlib.sha256(json.dumps(others).encode()).hexdigest()}


def verified(record: Mapping[str, Any], what: str, do: str = "") -> dict[str, Any]:
    """A record's entries without its checksum, which has to be right, if there is one.

    Args:
        record: The entries.
        what: The file, for the error.
        do: The remedy that an error names.

    Raises:
        InputError: The checksum is of another record.
    """
    if CHECKSUM in record and record[CHECKSUM] != signed(record)[CHECKSUM]:
        expected = f"what its {CHECKSUM} is of"
        raise InputError(what, expected=expected, got="something else", do=do)
    return {key: value for key, value in record.items() if key != CHECKSUM}
