"""``python -m dae_jax.reproduce``: the articles' experiments, published against measured."""

import difflib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from dae_jax import console as command
from dae_jax.errors import InputError
from dae_jax.experiments import reports as published
from dae_jax.experiments.reports import PROG
from dae_jax.files import write_whole
from dae_jax.settings import train as config

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.datasets import Dataset
    from dae_jax.experiments.catalogue import Experiment


@dataclass(frozen=True)
class Config:
    """Reproduce the experiments of the articles behind this project.

    Without a name they are listed: what, published, measured, time.
    """

    names: Positional[tuple[str, ...]] = ()
    """Experiments to run."""
    all: bool = False
    """Run them all."""
    check: bool = False
    """Exit 1 where a measured number leaves its band; with no experiment to run, those of the
    reports that are there."""
    data: config.Data = field(default_factory=config.Data)
    seeds: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: the experiment's own, 3)")
    ] = None
    """How many seeds to train."""
    epochs: Annotated[
        int | None, arg(metavar="INT", help_behavior_hint="(default: each model's own)")
    ] = None
    """Train everything for so long, to try something out: the bands do not apply then."""
    output_dir: str = "results"
    """Folder for the reports and figures, one in it an experiment."""
    table: str | None = None
    """Put the table of all reports between its two marks in this Markdown file, and do no more."""
    debug: bool = False
    """Show the traceback of an error."""


def main(argv: Sequence[str]) -> int:
    """Parse; list, run, check, or make the table.

    Returns:
        0, or 1 where a number that was checked leaves its band.

    Raises:
        InputError: Whatever the user can mend.
    """
    asked = command.parse(Config, argv, PROG)
    config.check_data(asked.data)
    for name, value in {"seeds": asked.seeds, "epochs": asked.epochs}.items():
        if value is not None:
            config.check_count(name, value)
    if asked.data.pixel_scale != config.Data.pixel_scale:
        raise InputError(
            "--pixel-scale",
            expected="none, since each experiment has its own",
            got=f"{asked.data.pixel_scale:g}",
            do="leave it out",
        )
    command.set_up_jax("float32", 1)

    from dae_jax.experiments.catalogue import EXPERIMENTS

    for name in asked.names:
        if name not in EXPERIMENTS:
            near = difflib.get_close_matches(name, EXPERIMENTS, 1)
            raise InputError(
                "experiment",
                expected="one of those that the command lists without a name",
                got=name,
                do=f"did you mean {near[0]}?" if near else f"see {PROG}",
            )
    reports = Path(asked.output_dir)
    if asked.table is not None:
        return published.put_table(Path(asked.table), EXPERIMENTS, reports)
    chosen = list(EXPERIMENTS) if asked.all else list(dict.fromkeys(asked.names))
    if not chosen:
        return (
            published.check(EXPERIMENTS, reports)
            if asked.check
            else published.show(EXPERIMENTS, reports)
        )

    from dae_jax.datasets import checks as inputs

    dataset, _ = inputs.load(asked.data)
    missed = []
    for name in chosen:
        report = run(name, EXPERIMENTS[name], dataset, asked)
        missed += [claim for claim in report["claims"] if not claim["holds"]]
    return 1 if asked.check and missed else 0


def run(name: str, experiment: "Experiment", dataset: "Dataset", asked: Config) -> dict[str, Any]:
    """Train, measure, draw, write the report and print it."""
    import jax
    import numpy as np

    from dae_jax import __version__, figures
    from dae_jax.experiments import data as prepared
    from dae_jax.experiments import laboratory
    from dae_jax.experiments import measures as findings
    from dae_jax.figures import plots

    print(f"{name}: {experiment.what}", flush=True)
    began = time.perf_counter()
    applies = dataset.name == "mnist" and asked.epochs is None
    other = f"-epochs-{asked.epochs}" if dataset.name == "mnist" else f"-{dataset.name}"
    folder = Path(asked.output_dir) / (name if applies else name + other)
    data = prepared.prepare(dataset, experiment.images)
    first = experiment.seeds[0]
    n_seeds = len(experiment.seeds) if asked.seeds is None else asked.seeds
    seeds = tuple(range(first, first + n_seeds))
    lab = laboratory.Laboratory(data, seeds, asked.epochs)
    for called, model in experiment.models.items():
        lab.fitted[called] = model.train(lab, called)

    values: dict[str, list[float]] = {}
    for i, seed in enumerate(seeds):
        found = findings.Found(data, seed, {k: fitted[i] for k, fitted in lab.fitted.items()})
        for measure in experiment.measures:
            for number, value in measure(found).items():
                values.setdefault(number, []).append(value)
        if not i:
            about = {"dae_jax": __version__, "experiment": name, "seed": seed, "data": dataset.name}
            for drawn, draw in experiment.drawings.items():
                picture = draw(found)
                save = figures.save_png if isinstance(picture, np.ndarray) else plots.save
                save(folder / f"{drawn}.png", picture, about)  # type: ignore[arg-type]

    numbers = {
        number: {
            "mean": float(np.mean(v)),
            "sd": float(np.std(v, ddof=1)) if len(v) > 1 else None,
            "values": v,
        }
        for number, v in values.items()
    }
    claims = [
        asdict(claim)
        | {
            "low": _finite(claim.low),
            "high": _finite(claim.high),
            "band": claim.band,
            "measured": (measured := claim.value(numbers[claim.number])),
            "holds": claim.holds(measured) if applies else True,
        }
        for claim in experiment.claims
    ]
    report = {
        "experiment": name,
        "what": experiment.what,
        "source": experiment.source,
        "note": experiment.note,
        "command": _typed(name, asked),
        "data": {"name": dataset.name, "train": len(data.images), "test": len(data.test.x)},
        "published_applies": applies,
        "seeds": list(seeds),
        "models": {called: declared(model) for called, model in experiment.models.items()},
        "numbers": numbers,
        "claims": claims,
        "curves": {
            called: {"costs": fitted[0].costs, "valid": fitted[0].valid}
            for called, fitted in lab.fitted.items()
            if fitted[0].costs
        },
        "figures": [f"{drawn}.png" for drawn in experiment.drawings],
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
        "versions": {"dae_jax": __version__, "jax": jax.__version__},
    }
    write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
    tell(report, folder)
    return report


def _typed(name: str, asked: Config) -> str:
    """The command that makes this one report."""
    flags = {"data": asked.data.data, "seeds": asked.seeds, "epochs": asked.epochs}
    given = [f"--{flag} {value}" for flag, value in flags.items() if value is not None]
    return " ".join([PROG, name, *given])


def _finite(bound: float) -> float | None:
    return bound if abs(bound) < float("inf") else None


def declared(value: Any) -> str:
    """A declaration as one would write it: what differs from the defaults.

    >>> from dae_jax.experiments.laboratory import Recipe
    >>> declared(Recipe(epochs=5, batch_size=128, decay="cosine"))
    "Recipe(epochs=5, batch_size=128, decay='cosine')"
    """
    if is_dataclass(value):
        words = [
            f"{part.name}={declared(getattr(value, part.name))}"
            for part in fields(value)
            if getattr(value, part.name) != part.default
        ]
        return f"{type(value).__name__}({', '.join(words)})"
    if isinstance(value, partial):
        words = [*map(repr, value.args), *(f"{k}={v!r}" for k, v in value.keywords.items())]
        return f"{declared(value.func)}({', '.join(words)})"
    return value.__name__.strip("_") if callable(value) else repr(value)


def tell(report: dict[str, Any], folder: Path) -> None:
    """Print what came of an experiment."""
    if not report["published_applies"]:
        print(
            f"*** trained on {report['data']['name']}"
            + (" for another length" if "--epochs" in report["command"] else "")
            + ": the published numbers do not apply ***"
        )
    width = max(map(len, report["numbers"]))
    claims = {claim["number"]: claim for claim in report["claims"]}
    for number, measured in report["numbers"].items():
        sd = "" if measured["sd"] is None else f" ± {measured['sd']:.2g}"
        words = f"{number:{width}}  {measured['mean']:.6g}{sd}"
        if number in claims and report["published_applies"]:
            claim = claims[number]
            verdict = "yes" if claim["holds"] else "NO"
            words += f"  published {claim['published']}; within {claim['band']}: {verdict}"
        print(words)
    seeds = report["seeds"]
    print(f"{len(seeds)} seeds, {report['seconds']:.0f} s; {folder}/report.json\n", flush=True)


def cli() -> int:
    """The console script ``dae-jax-reproduce``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
