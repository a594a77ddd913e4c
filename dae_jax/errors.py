"""The exception for mistakes that a user can correct, and two checks that raise it."""

import importlib

__all__ = ["InputError", "check_objective", "require"]


class InputError(ValueError):
    """A mistake that the user can correct, in one line: what, expected, got, what to do.

    The commands print it without a traceback and exit with status 2. The library raises it before
    anything is traced or written.

    Args:
        what: The argument, flag, file or array at fault.
        expected: The values that are accepted.
        got: The value that was given.
        do: A remedy.

    >>> print(InputError("corruption", expected="a level in [0, 1]", got=1.5, do="try 0.3"))
    corruption: expected a level in [0, 1], got 1.5; try 0.3
    """

    def __init__(self, what: object, *, expected: object = None, got: object = None, do: str = ""):
        facts = [f"expected {expected}"] if expected is not None else []
        facts += [f"got {got}"] if got is not None else []
        message = f"{what}: {', '.join(facts)}" if facts else str(what)
        # One line, even if it contains the message of another library.
        super().__init__(" ".join(f"{message}; {do}".split()) if do else " ".join(message.split()))


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
