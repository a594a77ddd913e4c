"""How much does the recipe of the rectangles decide about the errors on them?

    python benchmarks/rectangles.py

A support vector machine on the data set `rect`, drawn five times by the recipe, and by others whose
sides differ by more pixels: C and gamma chosen on 200 validation images from those that
`reproduce variations` tries, 1,000 training and 50,000 test images. An SVM has no seed of its own,
so only the images differ. The report goes into results/.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

import jax
import numpy as np
import turns

from dae_jax import console
from dae_jax.datasets import variations
from dae_jax.experiments.grid import Grid
from dae_jax.settings import shared

TRAIN, VALID, TEST = 1_000, 200, 50_000
DIFFERENCES = 3, 4, 5, 6
SEEDS = range(5)


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure the errors of a support vector machine on rectangles of several recipes."""

    prog: ClassVar[str] = "python benchmarks/rectangles.py"


def test_error(seed: int, least_difference: int, n_test: int) -> float:
    """The test error, in per cent, of the SVM that validation chooses, on one draw."""
    from sklearn.svm import SVC

    n = TRAIN + VALID + n_test
    rng = np.random.RandomState(seed)
    drawn = variations.rectangles(rng, n, least_difference=least_difference)
    images = variations.outlines(drawn).reshape(n, -1).astype(np.float32) / 255
    tall = drawn[:, 2] > drawn[:, 3]
    train, valid, test = np.split(np.arange(n), [TRAIN, TRAIN + VALID])
    machines = [
        SVC(C=C, gamma=gamma).fit(images[train], tall[train])  # type: ignore[arg-type]
        for C, gamma in product(Grid().penalties, Grid().gammas)
    ]
    best = max(machines, key=lambda machine: machine.score(images[valid], tall[valid]))
    return float(100 * (1 - best.score(images[test], tall[test])))


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    draws, n_test = (SEEDS[:1], TEST // 50) if settings.quick else (SEEDS, TEST)
    about = {"data": "rectangles", "images": TRAIN, "backend": jax.default_backend()}
    facts = turns.facts_of(about, ("scikit-learn", "numpy"))
    report = turns.Report("rectangles", facts, turns.output_folder(settings))
    report.say_machine()
    rows = report.numbers["errors"] = {
        str(least): [round(test_error(seed, least, n_test), 2) for seed in draws]
        for least in DIFFERENCES
    }
    columns = ["sides differ by at least", *(f"draw {seed + 1}, %" for seed in draws)]
    lines = [[least, *(f"{error:.2f}" for error in errors)] for least, errors in rows.items()]
    report.say(turns.markdown(columns, lines))
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
