"""Tables that stand between two marks in a Markdown file, and are made again by a command."""

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from dae_jax.errors import InputError
from dae_jax.files import write_whole

__all__ = ["Marks", "put_tables"]

Marks = tuple[str, str]
"""The lines before and after a table."""


def put_tables(path: Path, tables: Mapping[Marks, Callable[[], str]]) -> None:
    """Write tables between those marks that a Markdown file has.

    Args:
        path: The file.
        tables: What makes the text between two marks, by these marks; called only if they are
            there.

    Raises:
        InputError: No such file, not UTF-8, none of the marks in it, or one without the other.
    """
    try:
        if not os.path.isfile(path):  # reading a pipe would wait for a writer
            raise FileNotFoundError(errno.ENOENT, "no such file")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"--table: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"--table: {path}", expected="a text file in UTF-8", got="others"
        ) from error
    counts = {marks: tuple(map(text.count, marks)) for marks in tables}
    there = [marks for marks, count in counts.items() if count != (0, 0)]
    for begin, end in there or [next(iter(tables))]:
        if counts[begin, end] != (1, 1):
            raise InputError(
                f"--table: {path}", expected=f"the lines {begin!r} and {end!r}", got="none"
            )
    for begin, end in there:
        before, rest = text.split(begin)
        after = rest.split(end)[1]
        text = f"{before}{begin}\n\n{tables[begin, end]().strip()}\n\n{end}{after}"
    write_whole(path, text)
