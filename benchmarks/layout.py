"""Where does the time of an epoch go, and would another layout take less of it?

    python benchmarks/layout.py [--quick]

One epoch of the tutorial's dA, 784-500 with 30 % of the pixels masked and minibatches of 20, in
turns: by `training.fit`; by it with the weights stored as (hidden, visible), which are as many
numbers, with rows that begin at the start of a cache line; and by a bare loop that draws the masks
of 25 steps at once, that draws those of each step, and that draws none. All but the last one give
the same costs.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import blocks
import numpy as np
import turns
from turns import Epoch, Row

from dae_jax import console
from dae_jax.settings import shared

TOGETHER = 25


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure an epoch with other layouts of weights and masks."""

    prog: ClassVar[str] = "python benchmarks/layout.py"


def prepare(folder: Path, how: Row) -> None:
    """Write the images."""
    from dae_jax import datasets, rows

    dataset = datasets.load_default()
    images = rows.in_memory(dataset.train.images)[: 2_000 if how["quick"] else None]
    np.save(folder / "images.npy", images)
    turns.write_facts(folder, dataset.name, len(images))


def fit(folder: Path, **_: Any) -> Epoch:
    """The loop of the package."""
    return _fit(folder, lambda W: W)


def transposed(folder: Path, **_: Any) -> Epoch:
    """The same with weights whose rows are those of a hidden unit."""
    import jax

    @jax.tree_util.register_pytree_node_class
    class Transposed:
        """A matrix that is stored as its transpose, which products take as it is."""

        def __init__(self, stored: Any):
            self.T = stored

        def tree_flatten(self) -> tuple[tuple[Any], None]:
            return (self.T,), None

        @classmethod
        def tree_unflatten(cls, _: None, parts: tuple[Any]) -> "Transposed":
            return cls(*parts)

        def __rmatmul__(self, x: Any) -> Any:
            return jax.lax.dot_general(x, self.T, (((x.ndim - 1,), (1,)), ((), ())))

    return _fit(folder, lambda W: Transposed(jax.numpy.array(W.T)))


def _fit(folder: Path, stored: Callable[[Any], Any]) -> Epoch:
    console.set_up_jax("float32", 1)
    import jax

    from dae_jax import autoencoder, training
    from dae_jax.runs import stage
    from dae_jax.settings.shared import Denoising

    images, sgd = np.load(folder / "images.npy"), training.optimiser("sgd", blocks.RATE)
    how = Denoising(blocks.LEVEL, "masking", "cross-entropy", "sigmoid")
    params = autoencoder.init(jax.random.key(0), images.shape[1], blocks.UNITS)
    reports = training.fit(
        stage.denoising_cost(how, 255.0),
        training.start_state(params._replace(W=stored(params.W)), sgd),
        images,
        jax.random.key(1),
        optimizer=sgd,
        epochs=1_000,
        batch_size=blocks.BATCH,
    )
    return lambda: float(next(reports).cost)


def together(folder: Path, **_: Any) -> Epoch:
    """A bare loop that draws the masks of several steps at once."""
    return _bare(folder, TOGETHER, noise=True)


def one_by_one(folder: Path, **_: Any) -> Epoch:
    """A bare loop that draws the masks of each step in it."""
    return _bare(folder, 1, noise=True)


def without_noise(folder: Path, **_: Any) -> Epoch:
    """A bare loop without masks."""
    return _bare(folder, 1, noise=False)


def _bare(folder: Path, n: int, *, noise: bool) -> Epoch:
    console.set_up_jax("float32", 1)
    import jax
    import jax.numpy as jnp

    from dae_jax import autoencoder, corruption

    images, size = jnp.asarray(np.load(folder / "images.npy")), blocks.BATCH
    chosen = jnp.arange(len(images) // (n * size) * n * size).reshape(-1, n, size)
    steps = jnp.arange(chosen.shape[0] * n).reshape(-1, n)

    def cost(params: Any, batch: Any, kept: Any) -> Any:
        codes = autoencoder.encode(params, batch * kept)
        a = codes @ params.W.T + params.b_prime
        return jnp.mean(jnp.sum(jax.nn.softplus(a) - batch * a, axis=1))

    def epoch(params: Any, key: Any) -> Any:
        def kept(i: Any) -> Any:
            ones = jnp.ones((size, images.shape[1]))
            return corruption.mask(jax.random.fold_in(key, i), ones, blocks.LEVEL)

        def one(params: Any, xs: Any) -> Any:
            rows, own = xs
            batch = images[rows].astype(jnp.float32) / 255
            value, gradient = jax.value_and_grad(cost)(params, batch, own)
            return jax.tree.map(lambda p, g: p - blocks.RATE * g, params, gradient), value

        def several(params: Any, xs: Any) -> Any:
            i, rows = xs
            masks = jax.vmap(kept)(i) if noise else jnp.ones((n, 1, 1))
            return jax.lax.scan(one, params, (rows, masks))

        params, values = jax.lax.scan(several, params, (steps, chosen))
        return params, values.mean()

    run = jax.jit(epoch, donate_argnums=0)
    params = autoencoder.init(jax.random.key(0), images.shape[1], blocks.UNITS)
    params, epochs = jax.tree.map(jnp.array, params), 0

    def fit() -> float:
        nonlocal params, epochs
        params, value = run(params, jax.random.fold_in(jax.random.key(1), epochs))
        epochs += 1
        return float(value)

    return fit


def main(argv: Sequence[str]) -> None:
    """Measure and print one table."""
    settings = shared.parse(Settings, argv)
    contestants = {
        "training.fit": "fit",
        "training.fit, (hidden, visible)": "transposed",
        f"bare loop, masks of {TOGETHER} steps at once": "together",
        "bare loop, masks of each step": "one_by_one",
        "bare loop, no masks": "without_noise",
    }
    with turns.prepared(settings) as (folder, report):
        entries = {name: {"contestant": one} for name, one in contestants.items()}
        rows = turns.measure(folder, 2 if settings.quick else 7, entries)
        report.numbers["layout"] = rows
        report.say(f"one epoch of {report.machine['images']:,} images")
        report.say(turns.in_words(rows))


if __name__ == "__main__":
    contestants = [fit, transposed, together, one_by_one, without_noise]
    sys.exit(turns.start(main, prepare, contestants))
