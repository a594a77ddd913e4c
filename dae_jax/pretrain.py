"""``python -m dae_jax.pretrain``: a stack of dAs, fine-tuned as a classifier, and tested."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

from collections.abc import Sequence
from itertools import pairwise

from dae_jax import console
from dae_jax.errors import InputError
from dae_jax.settings import from_run, ladder, shared
from dae_jax.settings.pretrain import PRESETS, Settings

__all__ = ["main"]


def main(argv: Sequence[str]) -> int:
    """Parse, load, pretrain or take the layers of another run, fine-tune, report; or compare.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        InputError: A mistake that the user can correct.
    """
    if _wants_ladder(argv):
        return _ladder(argv)
    preset = _parse(Settings, argv).preset
    # Parsed again with the preset's settings as defaults, for the flags that are not given.
    settings = shared.parse(Settings, argv, default=PRESETS[preset])
    begun = settings.output.resume and shared.is_of(Settings, settings.output.run_dir)
    if settings.pretraining.from_run is not None and not begun:
        settings = from_run.inherited(settings, argv)
    if settings.output.resume:
        settings = shared.resumed(settings, argv, may_grow="finetune_epochs")
    settings.check()
    seeds = settings.machine.each(settings.running.seeds)
    console.set_up_jax(settings.running.precision, seeds, settings.machine.devices)

    from dae_jax import processes  # and with them JAX
    from dae_jax.runs import comparison, stack, stack_report
    from dae_jax.runs.from_run import origin

    command = " ".join([Settings.prog, *argv])
    with processes.together(settings.machine), stack.begin(settings, command) as run:
        if settings.comparison.compare:
            return 0 if comparison.run(run) else 130
        layers = stack.pretrain(run)
        if layers is None:
            return 130
        place, how = run.place("fine-tuning", run.folder / "finetune"), settings.finetuning
        keys = stack.keys(settings.seeds, len(layers))
        tuned = stack.finetune(
            how, layers, run.dataset, keys, run.pixel_scale, place, run.resources
        )
        if tuned is None:
            return 130
        names, labelled = stack.stage_names(settings), run.dataset.train
        if processes.first():
            stack_report.finish(run, names, layers, tuned, labelled, **origin(run))
    return 0


def _parse(kind: type[shared.Settings], argv: Sequence[str]) -> shared.Settings:
    """Parse flags; an error names those that belong to the other kind of network."""
    try:
        return shared.parse(kind, argv)
    except InputError:
        stack, its = (set(shared.flat(settings())) for settings in (Settings, ladder.Settings))
        if kind is Settings:
            other = its - stack
            whose = "the ladder network, not of the stack"
            do = "leave it out, or train a ladder network: --preset few-labels"
        else:
            other = stack - its
            whose = "the stack, not of the ladder network"
            do = "leave it out, or leave out --preset few-labels to train a stack"
        for word in argv:
            flag = word.split("=")[0]
            name = flag.removeprefix("--").removeprefix("no-").replace("-", "_")
            if flag.startswith("--") and name in other:
                raise InputError(f"{flag} is a flag of {whose}", do=do) from None
        raise


def _wants_ladder(argv: Sequence[str]) -> bool:
    """Whether to train a ladder network: with its preset, or by default for data of one's own.

    The stack is trained on the data sets that are known by name, on the tutorial's own file, and if
    a flag is the stack's.
    """
    if any(word.split("=")[0] == "--preset" for word in argv):
        return ("--preset", "few-labels") in pairwise(argv) or "--preset=few-labels" in argv
    if {"-h", "--help"} & set(argv):
        return False
    try:
        settings = shared.parse(ladder.Settings, argv)
    except InputError:
        return False
    if settings.output.resume:
        return shared.is_of(ladder.Settings, settings.output.run_dir)
    from dae_jax.datasets.loading import NAMES, has_fixed_split

    data = settings.data.data
    return data not in (None, *NAMES) and not has_fixed_split(data)


def _ladder(argv: Sequence[str]) -> int:
    """Parse, load, train a ladder network, report; returns the exit status."""
    settings = _parse(ladder.Settings, argv)
    if settings.output.resume:
        settings = shared.resumed(settings, argv, may_grow="")
    settings.check()
    seeds = settings.machine.each(settings.running.seeds)
    console.set_up_jax(settings.running.precision, seeds, settings.machine.devices)

    from dae_jax import processes
    from dae_jax.runs import ladder as runs
    from dae_jax.runs import stack_report
    from dae_jax.runs.stack import Tuned

    command = " ".join([ladder.Settings.prog, *argv])
    with processes.together(settings.machine), runs.begin(settings, command) as run:
        trained = runs.train(run)
        if trained is None:
            return 130
        first = runs.labelled(run.dataset, settings, 0)
        tuned = Tuned(trained.models, None)
        if processes.first():
            stack_report.finish(run, [runs.STAGE], [], tuned, first, **trained.about)
    return 0
