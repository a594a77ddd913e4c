"""``python -m dae_jax.reproduce``: experiments of the articles, published against measured."""

import sys

if __name__ == "__main__":  # first, so that Ctrl-C during the imports is one line, too
    from dae_jax.console import cli

    sys.exit(cli())

import difflib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from tyro.conf import Positional, arg

from dae_jax import console
from dae_jax.errors import InputError
from dae_jax.settings import shared
from dae_jax.settings.shared import Data

if TYPE_CHECKING:
    from dae_jax.experiments.experiment import Experiment

__all__ = ["Settings", "main"]

VARIATIONS = "variations"
SAMPLE = "mnist-sample"


@dataclass(frozen=True)
class Settings:
    """Reproduce the experiments of the articles behind this project.

    Without a name, list them: what, published, measured, verdict, time. One of them, variations,
    is the table of Vincent et al. (2008): many classifiers on data sets that are made to be hard.
    """

    prog: ClassVar[str] = "python -m dae_jax.reproduce"
    first_flags: ClassVar[tuple[str, ...]] = (
        *("names", "all", "check", "data"),
        *("seeds", "epochs", "output_dir"),
    )

    names: Positional[
        Annotated[
            tuple[str, ...], arg(metavar="[NAME ...]", help_behavior_hint="(default: list them)")
        ]
    ] = ()
    """Experiments to run."""
    all: bool = False
    """Run all experiments; variations, which takes hours, only if it is named, too."""
    check: bool = False
    """Exit 1 if a reproduced number is worse than published, an improved one not better, or a
    report missing or of another declaration than today's; exit 3 if the published numbers do not
    apply to the run. Without an experiment to run, check the existing reports."""
    data: Data = field(default_factory=Data)
    seeds: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: the experiment's own)")
    ] = None
    """Number of seeds to train, to try something out: intervals are of the declared ones."""
    epochs: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: each model's own)")
    ] = None
    """Number of epochs of all models, to try something out: published numbers do not apply then."""
    epoch_sheets: bool = False
    """Write a sheet of 10 x 10 reconstructions of test images after each epoch, in epochs/."""
    sets: Annotated[
        tuple[str, ...],
        arg(metavar="NAME [NAME ...]", help_behavior_hint="(default: the five made as published)"),
    ] = ()
    """Data sets of variations: basic, rot, bg-rand, rect and convex; or bg-img, rect-img and
    bg-img-rot, which have own backgrounds."""
    levels: Annotated[
        tuple[float, ...] | None,
        arg(metavar="LEVEL [LEVEL ...]", help_behavior_hint="(default: 0 0.1 0.25 0.4)"),
    ] = None
    """Levels of masking of variations, to try something out; 0 has to be one of them."""
    widths: Annotated[
        tuple[int, ...] | None,
        arg(metavar="INT [INT ...]", help_behavior_hint="(default: 500 1000)"),
    ] = None
    """Units of each layer of variations, to try something out."""
    resume: bool = True
    """Whether to go on with an interrupted run of the same declaration."""
    output_dir: Annotated[str, arg(metavar="PATH")] = "results"
    """Folder for the reports and figures, with one folder per experiment."""
    table: Annotated[
        tuple[str, ...], arg(metavar="PATH [PATH ...]", help_behavior_hint="(default: none)")
    ] = ()
    """Write the tables of all reports between their marks in these Markdown files, and stop."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: Sequence[str]) -> int:
    """Parse; list, run, check, or write the table.

    Returns:
        0; or, with ``--check``, 1 for a fault and 3 if nothing was checked.

    Raises:
        InputError: A mistake that the user can correct.
    """
    settings = shared.parse(Settings, argv)
    _check(settings)

    from dae_jax.experiments import pages, reports, variations_table
    from dae_jax.experiments.catalogue import EXPERIMENTS

    for name in settings.names:
        _check_name(name, [*EXPERIMENTS, VARIATIONS])
    folder = Path(settings.output_dir)
    if settings.table:
        tables = reports.tables(EXPERIMENTS, folder) | variations_table.tables(folder / VARIATIONS)
        for page in settings.table:
            pages.put_tables(Path(page), tables)
        return _checked(folder) if settings.check else 0
    names = list(dict.fromkeys([*(EXPERIMENTS if settings.all else ()), *settings.names]))
    if not names:
        if settings.check:
            return _checked(folder)
        return reports.show(EXPERIMENTS, folder, variations_table.lines(folder / VARIATIONS))
    chosen = [name for name in names if name != VARIATIONS]
    if VARIATIONS in names:
        _check_variations(settings)
    declared = {name: EXPERIMENTS[name] for name in chosen}
    most = max((len(experiment.seeds) for experiment in declared.values()), default=1)
    console.set_up_jax("float32", settings.seeds or most)
    status = _run(declared, settings) if declared else 0
    return _vary(settings) or status if VARIATIONS in names else status


def _check_variations(settings: Settings) -> None:
    """Check the settings of variations, before anything is made.

    Raises:
        InputError: A set that does not exist, a grid that cannot be tried, or a setting that is of
            other experiments.
    """
    from dae_jax.experiments import variations

    variations.check_sets(settings.sets)
    if settings.seeds is not None:
        raise InputError(
            "--seeds", expected="none with variations, which has one", got=settings.seeds
        )
    for name in settings.sets or variations.DEFAULT:
        variations.grid_of(name, settings.levels, settings.widths, settings.epochs)
    if settings.data.data not in (None, "mnist", SAMPLE):
        raise InputError(
            "--data",
            expected=f"none, or {SAMPLE} for smaller sets",
            got=settings.data.data,
            do="leave it out: the sets are made from MNIST",
        )


def _vary(settings: Settings) -> int:
    """Run the experiment on all sets; returns the exit status."""
    from dae_jax.experiments import variations
    from dae_jax.runs.run import claim

    sample = settings.data.data == SAMPLE
    parts = [VARIATIONS, *([SAMPLE] if sample else [])]
    given = {"levels": settings.levels, "widths": settings.widths, "epochs": settings.epochs}
    tried = {name: value for name, value in given.items() if value is not None}
    for name, value in tried.items():
        parts += [name, *shared.in_words(value).split()]
    folder = Path(settings.output_dir, "-".join(parts))
    own = claim(folder)
    try:
        for name in dict.fromkeys(settings.sets or variations.DEFAULT):
            grid = variations.grid_of(name, **tried)
            flags = [f"--{flag} {shared.in_words(value)}" for flag, value in tried.items()]
            flags += [f"--data {SAMPLE}"] if sample else []
            command = " ".join([Settings.prog, VARIATIONS, "--sets", name, *flags])
            if not variations.run(
                name, grid, folder, command, sample=sample, resume=settings.resume
            ):
                return 130
    finally:
        own.give_back()
    print(f"{folder}/report.json")
    return 0


def _checked(folder: Path) -> int:
    """Check all existing reports; returns the exit status."""
    from dae_jax.experiments import reports, variations_table
    from dae_jax.experiments.catalogue import EXPERIMENTS

    faults = variations_table.faults(folder / VARIATIONS)
    status = reports.check(EXPERIMENTS, folder)
    print(*faults, sep="\n", end="\n" if faults else "")
    return 1 if faults else status


def _run(chosen: "dict[str, Experiment]", settings: Settings) -> int:
    """Run experiments; returns the exit status."""
    from dae_jax.experiments import experiment, reports
    from dae_jax.runs.run import claim, load_data

    dataset, _ = load_data(settings.data)
    if dataset.name == "mnist" and settings.data.data not in (None, "mnist"):
        dataset = dataset._replace(name="own-mnist")  # a file of that name may hold anything
    faults = unchecked = 0
    for name, experiment_ in chosen.items():
        declared, folder = _tried(name, experiment_, settings, dataset.name)
        print(f"{name}: {declared.what}", flush=True)
        command = _command(name, settings)
        epochs, sheets = settings.epochs, settings.epoch_sheets
        experiment.published_applies(declared, dataset, epochs)  # checked before anything is made
        own = claim(folder)
        if not settings.resume:
            shutil.rmtree(folder / "training", ignore_errors=True)
        try:
            report = experiment.run(name, declared, dataset, folder, command, epochs, sheets)
        finally:
            own.give_back()
        reports.summarise(report, declared, folder)
        official = report["published_applies"] and declared == experiment_
        unchecked += not official
        faults += official and any(
            claim["verdict"] in ("worse", "not better") for claim in report["claims"]
        )
    if settings.check and unchecked:
        print(
            f"nothing was checked for {unchecked} of {len(chosen)} experiments: published numbers "
            "apply to mnist, with the declared seeds and epochs"
        )
    return (1 if faults else 3 if unchecked else 0) if settings.check else 0


def _tried(
    name: str, declared: "Experiment", settings: Settings, data: str
) -> "tuple[Experiment, Path]":
    """The experiment with the seeds of the settings, and a folder that is its own."""
    suffix = "" if data == "mnist" else f"-{data}"
    if settings.seeds is not None and settings.seeds != len(declared.seeds):
        first = declared.seeds[0]
        declared = replace(declared, seeds=tuple(range(first, first + settings.seeds)))
        suffix += f"-seeds-{settings.seeds}"
    if settings.epochs is not None:
        suffix += f"-epochs-{settings.epochs}"
    return declared, Path(settings.output_dir) / (name + suffix)


def _check(settings: Settings) -> None:
    """Check the settings, before anything is loaded.

    Raises:
        InputError: The first setting that is out of its range.
    """
    shared.check_data(settings.data)
    for name, value in {"seeds": settings.seeds, "epochs": settings.epochs}.items():
        if value is not None:
            shared.check_count(name, value)
    if settings.table and (settings.names or settings.all):
        raise InputError(
            "--table",
            expected="no experiment to run, since it is made from the existing reports",
            got=" ".join(settings.names) or "--all",
            do="run the experiments first",
        )
    if settings.data.pixel_scale != Data.pixel_scale:
        raise InputError(
            "--pixel-scale",
            expected="none, since each experiment has its own",
            got=f"{settings.data.pixel_scale:g}",
            do="leave it out",
        )


def _check_name(name: str, known: list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        raise InputError(
            "experiment",
            expected="a name from the list that the command prints without one",
            got=name,
            do=f"did you mean {near[0]}?" if near else f"see {Settings.prog}",
        )


def _command(name: str, settings: Settings) -> str:
    """The command that makes this one report."""
    flags = {"data": settings.data.data, "seeds": settings.seeds, "epochs": settings.epochs}
    given = [f"--{flag} {value}" for flag, value in flags.items() if value is not None]
    return " ".join([Settings.prog, name, *given])
