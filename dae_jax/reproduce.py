"""``python -m dae_jax.reproduce``: the articles' experiments, published against measured."""

import difflib
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from dae_jax import command, config
from dae_jax.errors import InputError
from dae_jax.files import write_whole

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.datasets import Dataset
    from dae_jax.experiments import Claim, Experiment

PROG = "python -m dae_jax.reproduce"
MARKS = (
    "<!-- results: made by python -m dae_jax.reproduce --table README.md -->",
    "<!-- end of results -->",
)


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
    command.set_up_jax("float32", 1)

    from dae_jax.experiments import EXPERIMENTS

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
        return put_table(Path(asked.table), EXPERIMENTS, reports)
    chosen = list(EXPERIMENTS) if asked.all else list(dict.fromkeys(asked.names))
    if not chosen:
        return check(EXPERIMENTS, reports, asked) if asked.check else show(EXPERIMENTS, reports)

    from dae_jax import inputs

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

    from dae_jax import __version__, figures, findings, laboratory, plots

    print(f"{name}: {experiment.what}", flush=True)
    began = time.perf_counter()
    applies = dataset.name == "mnist" and asked.epochs is None
    folder = Path(asked.output_dir) / (name if applies else f"{name}-{dataset.name}")
    if dataset.name == "mnist" and not applies:
        folder = Path(asked.output_dir) / f"{name}-epochs-{asked.epochs}"
    data = laboratory.prepare(dataset, experiment.images)
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
            "measured": (measured := claimed(claim.of, numbers[claim.number])),
            "holds": claim.holds(measured) if applies else True,
        }
        for claim in experiment.claims
    ]
    report = {
        "experiment": name,
        "what": experiment.what,
        "source": experiment.source,
        "note": experiment.note,
        "command": " ".join([PROG, name, *([f"--epochs {asked.epochs}"] if asked.epochs else [])]),
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


def claimed(of: str, numbers: dict[str, Any]) -> float:
    """What of a number a claim is about."""
    return numbers["values"][0] if of == "first" else numbers["mean"]


def _finite(bound: float) -> float | None:
    return bound if abs(bound) < float("inf") else None


def declared(value: Any) -> str:
    """A declaration as one would write it: what differs from the defaults.

    >>> from dae_jax.laboratory import Recipe
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


def read(experiments: dict[str, "Experiment"], reports: Path) -> dict[str, dict[str, Any]]:
    """The reports that are there, by experiment.

    Raises:
        InputError: One that cannot be read.
    """
    found = {}
    for name in experiments:
        path = reports / name / "report.json"
        if path.exists():
            try:
                found[name] = json.loads(path.read_text())
                _ = found[name]["claims"], found[name]["numbers"]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"cannot read {path}: {error!r}", do=f"make it again: {PROG} {name}"
                ) from error
    return found


def check(experiments: dict[str, "Experiment"], reports: Path, asked: Config) -> int:
    """Compare the reports that are there with the bands declared now.

    Raises:
        InputError: There is none, or one lacks a number that is claimed.
    """
    found = read(experiments, reports)
    if not found:
        raise InputError(
            "--check",
            expected=f"reports in {reports}",
            got="none",
            do=f"run {PROG} --all, or name an experiment",
        )
    missed = 0
    for name, report in found.items():
        for claim in experiments[name].claims:
            if claim.number not in report["numbers"]:
                raise InputError(
                    f"report of {name}",
                    expected=f"the number {claim.number!r}",
                    got="none",
                    do=f"make it again: {PROG} {name}",
                )
            value = claimed(claim.of, report["numbers"][claim.number])
            if not claim.holds(value):
                print(f"{name}: {claim.number} is {value:.6g}, not {claim.band}")
                missed += 1
    total = sum(len(experiments[name].claims) for name in found)
    print(f"{total - missed} of {total} numbers of {len(found)} experiments lie in their bands")
    return 1 if missed else 0


def show(experiments: dict[str, "Experiment"], reports: Path) -> int:
    """List the experiments: what, published, measured, time."""
    from rich.console import Console
    from rich.table import Table

    found = read(experiments, reports)
    table = Table(*("experiment", "number", "published", "measured", "band", "s"), box=None)
    for name, experiment in experiments.items():
        table.add_row(f"[bold]{name}[/]", experiment.what, style="cyan")
        report = found.get(name)
        for claim in experiment.claims:
            seconds = f"{report['seconds']:.0f}" if report and claim is experiment.claims[0] else ""
            table.add_row(
                "",
                claim.number,
                claim.published,
                _measured(report, claim.number),
                claim.band,
                seconds,
            )
    Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False).print(table)
    return 0


def _measured(report: dict[str, Any] | None, number: str) -> str:
    if report is None or number not in report["numbers"]:
        return "not run"
    of = next(claim["of"] for claim in report["claims"] if claim["number"] == number)
    numbers = report["numbers"][number]
    value, sd = claimed(of, numbers), numbers["sd"] or 0.0
    if of == "first" or sd < 1e-6 * abs(value):
        return in_words(number, value, 7 if of == "first" else 4)
    unit = " %" if is_share(number) else ""
    return f"{in_words(number, value).removesuffix(unit)} ± {in_words(number, sd, 1)}"


def is_share(number: str) -> bool:
    """Whether a number is a share of images, which reads best in per cent."""
    return number.endswith(" error")


def in_words(number: str, value: float, digits: int = 4) -> str:
    """A value of that number, with the digits that mean something.

    >>> in_words("mlp: test error", 0.01623), in_words("total cost", 652088.7)
    ('1.62 %', '652,089')
    """
    if is_share(number):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def band_in_words(claim: "Claim") -> str:
    """Where a number has to lie, in its own unit."""
    low, high = (in_words(claim.number, bound, 7) for bound in (claim.low, claim.high))
    if claim.low == -math.inf:
        return f"≤ {high}"
    return f"≥ {low}" if claim.high == math.inf else f"{low} to {high}"


def put_table(path: Path, experiments: dict[str, "Experiment"], reports: Path) -> int:
    """Write the table of all reports between its marks.

    Raises:
        InputError: No such file, or no marks in it.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError(f"--table: cannot read {path}: {error.strerror}") from error
    begin, end = MARKS
    if text.count(begin) != 1 or text.count(end) != 1:
        raise InputError(
            f"--table: {path}", expected=f"the lines {begin!r} and {end!r}", got="none"
        )
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    table = in_markdown(experiments, read(experiments, reports))
    write_whole(path, f"{before}{begin}\n{table}{end}{after}")
    return 0


def in_markdown(experiments: dict[str, "Experiment"], found: dict[str, dict[str, Any]]) -> str:
    """A row a claim of every report."""
    lines = ["| experiment | number | published | measured | band |", "|---|---|---|---|---|"]
    for name, report in found.items():
        for i, claim in enumerate(experiments[name].claims):
            first = f"[`{name}`](results/{name}/report.json)" if not i else ""
            measured = _measured(report, claim.number)
            value = claimed(claim.of, report["numbers"][claim.number])
            if not claim.holds(value):
                measured = f"**{measured}**"
            lines.append(
                f"| {first} | {claim.number} | {claim.published} | {measured} | "
                f"{band_in_words(claim)} |"
            )
    return "\n".join(["", *lines, "", ""])


def cli() -> int:
    """The console script ``dae-jax-reproduce``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
