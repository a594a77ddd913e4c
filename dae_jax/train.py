"""``python -m dae_jax.train``: train a dA, or a sweep of them, and draw its filters."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

from collections.abc import Sequence

from dae_jax import console
from dae_jax.settings import shared
from dae_jax.settings.train import Settings

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Parse, load, train, draw, report.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    if settings.output.resume:
        settings = shared.resumed(settings, argv, may_grow="epochs")
    settings.check()
    members = settings.machine.each(settings.n_members)
    console.set_up_jax(settings.training.precision, members, settings.machine.devices)

    from dae_jax import processes  # and with them JAX, which --help and wrong flags do not wait for
    from dae_jax.runs import da

    command = " ".join([Settings.prog, *argv])
    with processes.together(settings.machine), da.begin(settings, command) as run:
        trained = da.train(run)
        if trained is None:
            return 130
        if processes.first():
            da.finish(run, trained)
    return 0
