"""The exception for mistakes that a user can correct, and two checks that raise it."""

import importlib
import re

__all__ = ["InputError", "check_objective", "printable", "require"]

# Control characters but tab and newline, line separators, marks that turn the direction of writing,
# and halves of surrogate pairs, which stand for bytes of file names that are not UTF-8.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LONGEST = 300
"""The length in characters to which each part of an error's message is cut."""


def printable(text: str) -> str:
    r"""The text with control characters as escapes, so that no name can steer a terminal.

    >>> printable("a\x1b[31mb"), printable("c\udcff")
    ('a\\x1b[31mb', 'c\\xff')
    """
    return _UNPRINTABLE.sub(lambda found: _escaped(found[0]), text)


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return ascii(letter)[1:-1]


def _short(part: object) -> str:
    """A part of a message in one line, cut in the middle if it is long."""
    text = printable(" ".join(str(part).split()))
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f"{text[:half]} ... {text[-half:]}"


class InputError(ValueError):
    """A mistake that the user can correct, in one line: what, expected, got, what to do.

    The commands print it without a traceback and exit with status 2. The library raises it before
    anything is traced or written. Each part is cut to `LONGEST` characters, and `printable`.

    Args:
        what: The argument, flag, file or array at fault.
        expected: The values that are accepted.
        got: The value that was given.
        do: A remedy.

    >>> print(InputError("corruption", expected="a level in [0, 1]", got=1.5, do="try 0.3"))
    corruption: expected a level in [0, 1], got 1.5; try 0.3
    """

    def __init__(self, what: object, *, expected: object = None, got: object = None, do: str = ""):
        # One line, even if a part of it is the message of another library or a name of a megabyte.
        facts = [f"expected {_short(expected)}"] if expected is not None else []
        facts += [f"got {_short(got)}"] if got is not None else []
        message = f"{_short(what)}: {', '.join(facts)}" if facts else _short(what)
        super().__init__(f"{message}; {_short(do)}" if do else message)


def require(module: str, extra: str) -> None:
    """Check that a library is installed that comes with an extra of this package.

    Raises:
        InputError: It is not installed; the message names the extra.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this needs {module} ({error})", do=f'pip install "dae-jax[{extra}]"'
        ) from error


def check_objective(objective: str, output: str, what: str = "cross-entropy") -> None:
    """Check that the decoder's output can be read by the objective.

    Args:
        objective: ``"cross-entropy"`` or ``"squared-error"``.
        output: The decoder's activation, such as ``"sigmoid"`` or ``"linear"``.
        what: The flag or argument that an error names.

    Raises:
        InputError: Cross-entropy with an output other than a sigmoid.
    """
    if objective == "cross-entropy" and output != "sigmoid":
        raise InputError(
            what,
            expected="a sigmoid output, in (0, 1)",
            got=output,
            do="use squared-error with it",
        )
