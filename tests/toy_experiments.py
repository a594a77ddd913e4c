"""Experiments whose numbers are known beforehand, their data, and reports of them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dae_jax.datasets import Dataset, Split
from dae_jax.experiments.claims import Improved, Reproduced, Shown
from dae_jax.experiments.experiment import VERSION, Experiment, declaration, fingerprint
from dae_jax.experiments.measures import Outcome
from dae_jax.experiments.models import PCA

COST, ERROR, SHOWN, EXACT = "net: cost", "net: test error", "net: shown", "net: exact"
# Ten runs of the first three: mean 10, 2 % and 5, standard deviation 1, .1 % and 0.
STEPS = np.linspace(-1, 1, 10) / np.linspace(-1, 1, 10).std(ddof=1)
VALUES = {
    COST: (10 + STEPS).tolist(),
    ERROR: (0.02 + 0.001 * STEPS).tolist(),
    SHOWN: [5.0] * 10,
}


def numbers(outcome: Outcome) -> dict[str, float]:
    """The known numbers of a seed from 1 to 10."""
    return {number: values[outcome.seed - 1] for number, values in VALUES.items()}


def exact(outcome: Outcome) -> dict[str, float]:
    """A number that is not random."""
    return {EXACT: 0.07502}


def square(outcome: Outcome) -> np.ndarray:
    """A picture."""
    return np.full((28, 28), outcome.seed, np.uint8)


TOY = Experiment(
    what="a toy",
    source="nowhere",
    models={"net": PCA(2)},
    measures=(numbers,),
    pictures={"square": square},
    claims=(
        Reproduced(COST, "11"),
        Improved(ERROR, "2.2 %", differs="everything", chosen="nobody"),
        Shown(SHOWN, "figure 1"),
    ),
    seeds=tuple(range(1, 11)),
    note="a note",
)
ONCE = Experiment(
    what="a toy without chance",
    source="nowhere",
    models={"net": PCA(2)},
    measures=(exact,),
    pictures={"square": square},
    claims=(Reproduced(EXACT, "7.50 %", exact=True),),
    seeds=(7,),
)
TOYS = {"toy": TOY, "once": ONCE}


def toy_data(name: str = "mnist") -> Dataset:
    """Sixty images to train on, and twenty each to validate and to test."""
    rng = np.random.default_rng(0)

    def part(n: int) -> Split:
        return Split(rng.integers(0, 256, (n, 784), np.uint8), np.arange(n) % 10)

    return Dataset(name, "here", part(60), part(20), part(20), (28, 28), None)


def report(name: str, values: Mapping[str, list[float]] | None = None) -> dict[str, Any]:
    """A report of one of the toys, as far as it is read; with other values of some numbers."""
    declares = declaration(TOYS[name])
    own = {"toy": VALUES, "once": {EXACT: [0.07502]}}[name]
    return {
        "version": VERSION,
        "experiment": name,
        "data": {"name": "mnist"},
        "published_applies": True,
        "declaration": declares,
        "fingerprint": fingerprint(declares),
        "numbers": {
            number: {"mean": float(np.mean(v)), "values": v}
            for number, v in {**own, **(values or {})}.items()
        },
        "seconds": 60.0,
    }


def write(folder: Path, content: dict[str, Any], name: str | None = None) -> Path:
    """Write a report into the folder of its experiment; returns its path."""
    path = folder / (name or content["experiment"]) / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path
