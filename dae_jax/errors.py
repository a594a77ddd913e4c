"""The one exception that a user is meant to read."""

import importlib


class InputError(ValueError):
    """A mistake that the user can mend, told in one line: what, expected, got, what to do.

    The commands print it without a traceback and exit with status 2; the library raises it before
    anything is traced, written or lost.

    Args:
        what: The argument, flag, file or array that is at fault.
        expected: What would have been accepted.
        got: What came instead.
        do: What the user can do about it.

    >>> print(InputError("corruption", expected="a level in [0, 1]", got=1.5, do="try 0.3"))
    corruption: expected a level in [0, 1], got 1.5; try 0.3
    """

    def __init__(self, what: object, *, expected: object = None, got: object = None, do: str = ""):
        facts = [f"expected {expected}"] if expected is not None else []
        facts += [f"got {got}"] if got is not None else []
        message = f"{what}: {', '.join(facts)}" if facts else str(what)
        # One line whatever a library's own message, passed in here, may contain.
        super().__init__(" ".join(f"{message}; {do}".split()) if do else " ".join(message.split()))


def require(module: str, extra: str) -> None:
    """Refuse to go on without a library that comes with an extra of this package.

    Raises:
        InputError: It is not installed.
    """
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"this needs {module} ({error})", do=f'pip install "dae-jax[{extra}]"'
        ) from error
