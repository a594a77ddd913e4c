"""``python -m dae_jax.pretrain``: a stack of dAs, fine-tuned as a classifier, and tested."""

import sys
from collections.abc import Sequence
from itertools import pairwise

from dae_jax import console
from dae_jax.settings import ladder, shared
from dae_jax.settings.pretrain import PRESETS, Settings

__all__ = ["cli", "main"]


def main(argv: Sequence[str]) -> int:
    """Parse, load, pretrain, fine-tune, report; or compare.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        InputError: A mistake that the user can correct.
    """
    if _few_labels(argv):
        return _ladder(argv)
    preset = shared.parse(Settings, argv).preset
    # Parsed again with the preset's settings as defaults, for the flags that are not given.
    settings = shared.parse(Settings, argv, default=PRESETS[preset])
    if settings.output.resume:
        settings = shared.resumed(settings, argv, may_grow="finetune_epochs")
    settings.check()
    console.set_up_jax(settings.running.precision, settings.running.seeds)

    from dae_jax.runs import comparison, stack, stack_report  # and with them JAX

    run = stack.begin(settings, " ".join([Settings.prog, *argv]))
    if settings.comparison.compare:
        return 0 if comparison.run(run) else 130
    layers = stack.pretrain(run)
    if layers is None:
        return 130
    place = run.place("fine-tuning", run.folder / "finetune")
    keys = stack.keys(settings.seeds, len(layers))
    tuned = stack.finetune(settings.finetuning, layers, run.dataset, keys, run.pixel_scale, place)
    if tuned is None:
        return 130
    stack_report.finish(run, stack.stage_names(settings), layers, tuned, run.dataset.train)
    return 0


def _few_labels(argv: Sequence[str]) -> bool:
    """Whether the flags ask for the ladder network, which has flags of its own."""
    pairs = pairwise(argv)
    return ("--preset", "few-labels") in pairs or "--preset=few-labels" in argv


def _ladder(argv: Sequence[str]) -> int:
    """Parse, load, train a ladder network, report; returns the exit status."""
    settings = shared.parse(ladder.Settings, argv)
    if settings.output.resume:
        settings = shared.resumed(settings, argv, may_grow="")
    settings.check()
    console.set_up_jax(settings.running.precision, settings.running.seeds)

    from dae_jax.runs import ladder as runs
    from dae_jax.runs import stack_report

    run = runs.begin(settings, " ".join([ladder.Settings.prog, *argv]))
    trained = runs.train(run)
    if trained is None:
        return 130
    stack_report.finish(run, [runs.STAGE], [], trained, runs.labelled(run.dataset, settings, 0))
    return 0


def cli() -> int:
    """The console script ``dae-jax-pretrain``."""
    return console.run(main)


if __name__ == "__main__":
    sys.exit(cli())
