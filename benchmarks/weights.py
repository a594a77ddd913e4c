"""How much do the restored pixels of a dA change if its weights have few bits?

    python -m dae_jax.train --corruption 0 0.1 0.3 0.5 --run-dir runs/demo
    python benchmarks/weights.py runs/demo/corruption_*

The largest difference of any pixel, of all test digits with 30 % of the pixels masked, between a
model and the same with weights rounded per hidden unit: in equal steps, and in steps that grow
with the weight, the squares of `exporting.to_web`. The report goes into results/.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import turns

from dae_jax import autoencoder, console, corruption, datasets, evaluation
from dae_jax.autoencoder import Params
from dae_jax.runs import saved

BITS, LEVEL, SEED = (8, 10), 0.3, 0
ROOTS = {"equal": 1, "squares": 2}
VERSIONS = "jax", "numpy"


def rounded(W: np.ndarray, bits: int, root: int) -> np.ndarray:
    """The weights in `bits` bits, as s (q / m)^root, where s is the largest of a unit's weights."""
    most = 2 ** (bits - 1) - 1
    scale = np.abs(W).max(axis=0)
    q = np.rint(most * (np.abs(W) / scale) ** (1 / root))
    return scale * np.sign(W) * (q / most) ** root


def restored(params: Params, images: np.ndarray) -> np.ndarray:
    return evaluation.apply(saved.reconstruct("sigmoid"), params, images)


def differences(params: Params, images: np.ndarray) -> dict[str, float]:
    """The largest change of a restored pixel, in [0, 1], for each way to round the weights."""
    before, W = restored(params, images), np.asarray(params.W)
    rows = {}
    for bits in BITS:
        for name, root in ROOTS.items():
            after = restored(params._replace(W=jnp.asarray(rounded(W, bits, root))), images)
            rows[f"{bits} bits, {name}"] = float(abs(after - before).max())
    return rows


def main(folders: Sequence[str]) -> int:
    data = datasets.load("mnist")
    digits = autoencoder.pixels(np.asarray(data.test.images), 255)
    images = np.asarray(corruption.mask(jax.random.key(SEED), digits, LEVEL))
    about = {"data": data.name, "images": len(data.train.images), "backend": jax.default_backend()}
    about |= {"level": LEVEL, "seed": SEED}
    report = turns.Report("weights", turns.facts_of(about, VERSIONS), turns.RESULTS)
    report.say_machine()
    rows = report.numbers["runs"] = {}
    for folder in map(Path, folders):
        params, _ = saved.load(saved.find(str(folder), saved.DA))
        assert isinstance(params, Params)
        rows[folder.name] = differences(params, images)
    names = next(iter(rows.values()), {})
    lines = [[run, *(f"{row[name]:.4f}" for name in names)] for run, row in rows.items()]
    report.say(turns.markdown(["largest change of a pixel", *names], lines))
    report.write()
    return 0


if __name__ == "__main__":
    sys.exit(console.run(main))
