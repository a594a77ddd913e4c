"""An experiment: its declaration, and the runner that makes its report."""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import jax
import numpy as np

from dae_jax import __version__, console, figures
from dae_jax.datasets import Dataset
from dae_jax.experiments import pictures
from dae_jax.experiments.claims import Claim, check_seeds, judged
from dae_jax.experiments.data import Images, Patches, Prepared, prepare
from dae_jax.experiments.measures import Measure, Outcome
from dae_jax.experiments.models import Fitted, Model, Setup, slug
from dae_jax.experiments.pictures import Picture
from dae_jax.figures import plots
from dae_jax.files import write_whole

__all__ = [
    "VERSION",
    "Experiment",
    "begin",
    "declaration",
    "declared",
    "fingerprint",
    "published_applies",
    "run",
]


@dataclass(frozen=True)
class Experiment:
    """The declaration of what one name of ``python -m dae_jax.reproduce`` reproduces."""

    what: str
    source: str
    models: Mapping[str, Model]
    measures: tuple[Measure, ...]
    pictures: Mapping[str, Picture]
    claims: tuple[Claim, ...]
    images: Images | Patches = field(default_factory=Images)
    seeds: tuple[int, ...] = (1, 2, 3)
    note: str = ""


VERSION = 2
"""The version of the reports; reports of another version have to be made again."""


def declaration(experiment: Experiment) -> dict[str, Any]:
    """The data, models, measures, seeds and claims of an experiment, as source code."""
    return {
        "images": declared(experiment.images),
        "seeds": list(experiment.seeds),
        "models": {name: declared(model) for name, model in experiment.models.items()},
        "measures": [declared(measure) for measure in experiment.measures],
        "claims": [declared(claim) for claim in experiment.claims],
    }


def fingerprint(declaration: Mapping[str, Any]) -> str:
    """The first 16 hexadecimal digits of a declaration's SHA-256."""
    text = json.dumps(declaration, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def run(
    name: str,
    experiment: Experiment,
    dataset: Dataset,
    folder: Path,
    command: str,
    epochs: int | None = None,
    sheets: bool = False,
) -> dict[str, Any]:
    """Train, measure, draw, and write ``report.json`` and the pictures.

    Its seven parameters are those of the command.

    Args:
        name: The name of the experiment.
        experiment: Its declaration.
        dataset: The data set; the published numbers apply to ``mnist`` only.
        folder: The folder of the report.
        command: The command that makes this report, for the record.
        epochs: A number of epochs for all models instead of their own; then the published numbers
            do not apply.
        sheets: Whether to write a sheet of 10 x 10 reconstructions after each epoch.

    Returns:
        The report.

    Raises:
        InputError: A claim's interval would be of one seed.
    """
    began = time.perf_counter()
    applies = published_applies(experiment, dataset, epochs)
    declares = declaration(experiment)
    data = prepare(dataset, experiment.images)
    training = folder / "training"
    same = {part: declares[part] for part in ("images", "seeds", "models")}
    begin(training, same | {"data": dataset.name, "epochs": epochs})
    each_epoch = partial(_write_sheet, folder / "epochs", data, experiment.seeds[0])
    setup = Setup(
        data,
        experiment.seeds,
        epochs,
        folder=training,
        command=_resuming(command, folder),
        each_epoch=each_epoch if sheets else None,
    )
    for called, model in experiment.models.items():
        setup = replace(setup, fitted={**setup.fitted, called: model.train(setup, called)})
    outcomes = [
        Outcome(data, seed, {called: fitted[i] for called, fitted in setup.fitted.items()})
        for i, seed in enumerate(experiment.seeds)
    ]
    numbers = _numbers(experiment.measures, outcomes)
    about = {"dae_jax": __version__, "experiment": name, "seed": outcomes[0].seed}
    _draw(experiment.pictures, outcomes[0], folder, about | {"data": data.name})
    report = {
        "version": VERSION,
        "experiment": name,
        "what": experiment.what,
        "source": experiment.source,
        "note": experiment.note,
        "command": command,
        "data": {"name": data.name, "train": len(data.images), "test": len(data.test.x)},
        "published_applies": applies,
        "declaration": declares,
        "fingerprint": fingerprint(declares),
        "numbers": numbers,
        "claims": [judged(claim, numbers) for claim in experiment.claims] if applies else [],
        "chosen": {
            called: fitted[0].candidates
            for called, fitted in setup.fitted.items()
            if fitted[0].candidates
        },
        "curves": {
            called: {"costs": fitted[0].costs, "valid": fitted[0].valid}
            for called, fitted in setup.fitted.items()
            if fitted[0].costs
        },
        "figures": [f"{drawn}.png" for drawn in experiment.pictures],
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
        "processor": console.processor(),
        "versions": {"dae_jax": __version__, "jax": jax.__version__},
    }
    write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
    shutil.rmtree(training, ignore_errors=True)
    return report


def published_applies(experiment: Experiment, dataset: Dataset, epochs: int | None) -> bool:
    """Whether the published numbers apply to a run: on the declared data, for the declared epochs.

    Raises:
        InputError: They do, and a claim's interval would be of one seed.
    """
    as_declared = dataset.name == "mnist" or isinstance(experiment.images, Patches)
    applies = as_declared and epochs is None
    if applies:
        check_seeds(experiment.claims, experiment.seeds)
    return applies


def _write_sheet(
    folder: Path, data: Prepared, seed: int, name: str, epoch: int, fitted: Fitted
) -> None:
    """Write the first 100 test images as a model reconstructs them after an epoch."""
    drawn: Any = pictures.sheet(name)(Outcome(data, seed, {name: fitted}))
    about = {"dae_jax": __version__, "model": name, "seed": seed, "epoch": epoch}
    plots.save(folder / f"{slug(name)}_{epoch:03d}.png", drawn, about)


def _resuming(command: str, folder: Path) -> str:
    """The command with the folder of its reports, where it continues."""
    parent = folder.parent
    return command if parent == Path("results") else f"{command} --output-dir {parent}"


def begin(training: Path, declares: Mapping[str, Any]) -> None:
    """Keep the files of an interrupted run of the same declaration; remove any others.

    Args:
        training: The folder of what a run keeps until it has ended.
        declares: All that the files depend on.
    """
    path, content = training / "declaration.json", json.dumps(declares)
    if path.exists() and path.read_bytes() == content.encode():
        return
    shutil.rmtree(training, ignore_errors=True)
    write_whole(path, content)


def _numbers(measures: Sequence[Measure], outcomes: Sequence[Outcome]) -> dict[str, dict[str, Any]]:
    """All measured numbers by name: mean, standard deviation and the value of each seed."""
    values: dict[str, list[float]] = {}
    for outcome in outcomes:
        for measure in measures:
            for number, value in measure(outcome).items():
                values.setdefault(number, []).append(value)
    return {
        number: {
            "mean": float(np.mean(v)),
            "sd": float(np.std(v, ddof=1)) if len(v) > 1 else None,
            "values": v,
        }
        for number, v in values.items()
    }


def _draw(
    drawings: Mapping[str, Picture], outcome: Outcome, folder: Path, about: dict[str, Any]
) -> None:
    """Save the pictures of one seed."""
    for name, picture in drawings.items():
        drawn = picture(outcome)
        save: Any = figures.save_png if isinstance(drawn, np.ndarray) else plots.save
        save(folder / f"{name}.png", drawn, about)


def declared(value: Any) -> str:
    """A declaration as source code, with all fields, so that a changed default shows as well.

    >>> from dae_jax.experiments.data import Images
    >>> declared(Images(with_valid=True))
    "Images(prepare='unit', pixel_scale=255.0, with_valid=True, skip=0, batches_of=1)"
    """
    if is_dataclass(value):
        words = [f"{part.name}={declared(getattr(value, part.name))}" for part in fields(value)]
        return f"{type(value).__name__}({', '.join(words)})"
    if isinstance(value, partial):
        given = signature(value.func).bind_partial(*value.args, **value.keywords)
        given.apply_defaults()
        words = [f"{name}={declared(each)}" for name, each in given.arguments.items()]
        return f"{declared(value.func)}({', '.join(words)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(declared, value))}{',' * (len(value) == 1)})"
    return value.__name__.strip("_") if callable(value) else repr(value)
