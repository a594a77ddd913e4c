"""Errors are one line: what, expected, got, what to do."""

import pytest

from dae_jax.errors import InputError, check_objective, require
from helpers import refused


def test_a_message_has_only_the_parts_that_are_given():
    assert str(InputError("--epochs")) == "--epochs"
    assert str(InputError("a", got=0)) == "a: got 0"
    full = InputError("a", expected="b", got="c", do="d")
    assert str(full) == "a: expected b, got c; d"
    assert isinstance(full, ValueError)


def test_the_message_of_another_library_becomes_one_line():
    assert str(InputError("a:\n  b", got="c\n\td", do="e\nf")) == "a: b: got c d; e f"


def test_a_message_has_a_bounded_length_and_no_control_characters():
    message = str(
        InputError("a" * 10**6, expected="b\x1b]0;" * 999, got="c\udc80" * 999, do="d " * 999)
    )
    assert len(message) < 4 * 400 and " ... " in message and "\n" not in message
    assert "\x1b" not in message and "\\x1b" in message and "\\x80" in message
    message.encode()
    assert str(InputError("e" * 300)) == "e" * 300


def test_cross_entropy_needs_a_sigmoid_and_the_squared_error_takes_any_output():
    for output in ("sigmoid", "linear", "relu"):
        check_objective("squared-error", output)
    check_objective("cross-entropy", "sigmoid")
    for output in ("linear", "tanh"):
        refused(
            lambda output=output: check_objective("cross-entropy", output, "--cost"),
            "--cost: expected a sigmoid output",
            output,
            "squared-error",
        )


def test_a_missing_library_is_one_line_with_the_extra_that_brings_it():
    require("json", "experiments")
    message = refused(
        lambda: require("no_such_library", "experiments"), "no_such_library", "[experiments]"
    )
    assert "pip install" in message
    with pytest.raises(InputError) as caught:
        require("no_such_library", "experiments")
    assert isinstance(caught.value.__cause__, ImportError)
