"""``python -m dae_jax`` and ``dae-jax``: list the commands, or run one of them."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

import difflib
import shlex
from collections.abc import Sequence
from importlib import import_module

from dae_jax import __version__
from dae_jax.errors import InputError
from dae_jax.settings import help

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "train": "train a denoising autoencoder and draw its filters",
    "pretrain": "train a classifier of images with few or many labels, and test it",
    "predict": "predict the classes of new images",
    "transform": "compute the codes of new images in a hidden layer",
    "export": "write a trained model for ONNX, StableHLO or PyTorch",
    "reproduce": "reproduce experiments of the articles",
}
"""The commands in one line each; the module of the same name has the `main`."""


def main(argv: Sequence[str]) -> int:
    """Print the list of commands, or run the command that comes first.

    Returns:
        The exit status of the command; 0 after the list.

    Raises:
        InputError: An unknown command, flags without a command, or what the command raises.
    """
    prog = help.as_typed("python -m dae_jax")
    if not argv or argv[0] in ("-h", "--help"):
        print(_listed(prog))
        return 0
    name, *flags = argv
    if name == "--version":
        print(f"dae_jax {__version__}")
        return 0
    if name.startswith("-"):
        do = f"did you mean {prog} train {shlex.join(argv)}?"
        raise InputError(f"{name} without a command", do=do)
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        do = f"did you mean {near[0]}?" if near else f"see {prog} --help"
        raise InputError("command", expected=f"one of {', '.join(COMMANDS)}", got=name, do=do)
    return import_module(f"dae_jax.{name}").main(flags) or 0


def _listed(prog: str) -> str:
    """The commands in one line each, and an example."""
    width = max(map(len, COMMANDS))
    return "\n".join(
        [
            f"usage: {prog} COMMAND [FLAGS]",
            "",
            "Denoising autoencoders in JAX: the tutorial's dA, stacks and the ladder network.",
            "",
            "commands:",
            *(f"  {name:{width}}  {words}" for name, words in COMMANDS.items()),
            "",
            f"For example:  {prog} train --corruption 0.3",
            f"Flags:        {prog} train --help",
        ]
    )
