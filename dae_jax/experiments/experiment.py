"""An experiment: its declaration, its claims, and the runner that makes its report."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from dae_jax import __version__, figures
from dae_jax.datasets import Dataset
from dae_jax.experiments.data import Images, prepare
from dae_jax.experiments.measures import Measure, Outcome
from dae_jax.experiments.models import Model, Setup
from dae_jax.experiments.pictures import Picture
from dae_jax.figures import plots
from dae_jax.files import write_whole

__all__ = ["Claim", "Experiment", "declared", "in_words", "is_share", "run"]


@dataclass(frozen=True)
class Claim:
    """A measured number, its published value, and the band that it must lie in."""

    number: str
    published: str
    low: float = -math.inf
    high: float = math.inf
    of: Literal["mean", "first"] = "mean"  # of all seeds, or of the first, if that one is exact

    @property
    def band(self) -> str:
        """The band in words, in the number's own unit."""
        low, high = (in_words(self.number, bound, 7) for bound in (self.low, self.high))
        if math.isinf(self.low):
            return f"≤ {high}"
        return f"≥ {low}" if math.isinf(self.high) else f"{low} to {high}"

    def value(self, numbers: dict[str, Any]) -> float:
        """The claimed number, from a report's mean and values of all seeds."""
        return numbers["values"][0] if self.of == "first" else numbers["mean"]

    def holds(self, value: float) -> bool:
        """Whether a value lies in the band; NaN does not."""
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Experiment:
    """The declaration of what one name of ``python -m dae_jax.reproduce`` reproduces."""

    what: str
    source: str
    models: Mapping[str, Model]
    measures: tuple[Measure, ...]
    pictures: Mapping[str, Picture]
    claims: tuple[Claim, ...]
    images: Images = field(default_factory=Images)
    seeds: tuple[int, ...] = (1, 2, 3)
    note: str = ""


def is_share(number: str) -> bool:
    """Whether a number is a share of images, to be printed in per cent."""
    return number.endswith(" error")


def in_words(number: str, value: float, digits: int = 4) -> str:
    """A value of that number, with its significant digits.

    >>> in_words("mlp: test error", 0.01623), in_words("total cost", 652088.7)
    ('1.62 %', '652,089')
    """
    if is_share(number):
        return f"{100 * value:.2f} %"
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:.{digits}g}"


def run(
    name: str,
    experiment: Experiment,
    dataset: Dataset,
    folder: Path,
    command: str,
    epochs: int | None = None,
) -> dict[str, Any]:
    """Train, measure, draw, and write ``report.json`` and the pictures.

    Args:
        name: The name of the experiment.
        experiment: Its declaration.
        dataset: The data set; the published numbers apply to ``mnist`` only.
        folder: The folder of the report.
        command: The command that makes this report, for the record.
        epochs: A number of epochs for all models instead of their own; then the published numbers
            do not apply.

    Returns:
        The report.
    """
    began = time.perf_counter()
    applies = dataset.name == "mnist" and epochs is None
    data = prepare(dataset, experiment.images)
    setup = Setup(data, experiment.seeds, epochs)
    for called, model in experiment.models.items():
        setup = replace(setup, fitted={**setup.fitted, called: model.train(setup, called)})
    outcomes = [
        Outcome(data, seed, {called: fitted[i] for called, fitted in setup.fitted.items()})
        for i, seed in enumerate(experiment.seeds)
    ]
    numbers = _numbers(experiment.measures, outcomes)
    about = {"dae_jax": __version__, "experiment": name, "seed": outcomes[0].seed}
    _draw(experiment.pictures, outcomes[0], folder, about | {"data": dataset.name})
    report = {
        "experiment": name,
        "what": experiment.what,
        "source": experiment.source,
        "note": experiment.note,
        "command": command,
        "data": {"name": dataset.name, "train": len(data.images), "test": len(data.test.x)},
        "published_applies": applies,
        "seeds": list(experiment.seeds),
        "models": {called: declared(model) for called, model in experiment.models.items()},
        "numbers": numbers,
        "claims": [_checked(claim, numbers, applies) for claim in experiment.claims],
        "curves": {
            called: {"costs": fitted[0].costs, "valid": fitted[0].valid}
            for called, fitted in setup.fitted.items()
            if fitted[0].costs
        },
        "figures": [f"{drawn}.png" for drawn in experiment.pictures],
        "seconds": round(time.perf_counter() - began, 1),
        "device": jax.devices()[0].device_kind,
        "versions": {"dae_jax": __version__, "jax": jax.__version__},
    }
    write_whole(folder / "report.json", json.dumps(report, indent=2) + "\n")
    return report


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
    pictures: Mapping[str, Picture], outcome: Outcome, folder: Path, about: dict[str, Any]
) -> None:
    """Save the pictures of one seed."""
    for name, picture in pictures.items():
        drawn = picture(outcome)
        save: Any = figures.save_png if isinstance(drawn, np.ndarray) else plots.save
        save(folder / f"{name}.png", drawn, about)


def _checked(claim: Claim, numbers: dict[str, Any], applies: bool) -> dict[str, Any]:
    """A claim with its measured value, and whether it holds where the published value applies."""
    measured = claim.value(numbers[claim.number])
    return asdict(claim) | {
        "low": _finite(claim.low),
        "high": _finite(claim.high),
        "band": claim.band,
        "measured": measured,
        "holds": claim.holds(measured) if applies else True,
    }


def _finite(bound: float) -> float | None:
    return bound if abs(bound) < float("inf") else None


def declared(value: Any) -> str:
    """A declaration as source code, without the fields that have their default values.

    >>> from dae_jax.experiments.models import Recipe
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
