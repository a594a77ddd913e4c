"""How fast is the training of a ladder network, compared with PyTorch?

    pip install ".[bench]" && python benchmarks/ladder.py [--quick]

One epoch of MNIST is measured in turns, from the same weights, with the published settings: 100
images without labels and 100 with labels per update, in a new order every epoch. Before that,
PyTorch's cost and gradient are compared with those of JAX, with the same noise and in double
precision: in single precision, rounding decides on which side of a rectifier's kink a unit is.
benchmarks/README.md says how to read the table.
"""

import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import contestants
import numpy as np
import turns
from turns import Epoch, Row, ratio

from dae_jax import console
from dae_jax.settings import shared

WIDTHS = 784, 1000, 500, 250, 250, 250, 10
WEIGHTS = 1000.0, 10.0, 0.1, 0.1, 0.1, 0.1, 0.1
NOISE, RATE, BATCH, EPSILON = 0.3, 0.002, 100, 1e-10
TOLERANCE = 1e-9  # of a cost and its gradients in float64


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure dae_jax against PyTorch on a ladder network."""

    prog: ClassVar[str] = "python benchmarks/ladder.py"


def model_jax() -> tuple[Any, Any]:
    """The cost of dae_jax, and the initial parameters."""
    import jax

    from dae_jax import ladder, training

    cost = partial(ladder.cost, weights=WEIGHTS)
    numbers = {"noise": np.full(len(WIDTHS), NOISE), "pixel_scale": 255}
    return training.bind(cost, **numbers), ladder.init(jax.random.key(123), WIDTHS)


def ladder_jax(folder: Path, batch: int, **_: Any) -> Epoch:
    """`training.fit` of `ladder.cost`: a sweep of one member, as `runs/ladder.py` trains it."""
    import jax

    from dae_jax import training

    console.set_up_jax("float32", 1)
    rule = training.optimiser("adam", RATE)
    cost, params = model_jax()
    reports = training.fit(
        *training.sweep([cost], [params], rule),
        np.load(folder / "images.npy"),
        jax.random.split(jax.random.key(123), 1),
        optimizer=rule,
        epochs=sys.maxsize,
        batch_size=batch,
        shuffle=True,
        labelled=tuple(array[None] for array in load(folder / "labelled.npz")),
        labelled_batch_size=batch,
    )
    return lambda: next(reports).cost.item()  # it has waited for the device


def ladder_torch(folder: Path, batch: int, device: str, compiled: bool = False, **_: Any) -> Epoch:
    """Idiomatic PyTorch, with its fused Adam and its batch normalisation."""
    n_images = len(np.load(folder / "images.npy", mmap_mode="r"))
    torch, (images,) = contestants.load_torch(folder, n_images, device)
    check(torch, folder, device)
    pixels, labels = (torch.from_numpy(array).to(device) for array in load(folder / "labelled.npz"))
    params = [leaf.requires_grad_() for leaf in tensors(torch, folder / "params.npz", device)]
    data = Minibatches(torch, images, pixels.float() / 255, labels.long(), batch)
    adam = torch.optim.Adam(params, lr=RATE, fused=True)
    return contestants.learn(torch, cost_torch(torch, params), params, data, compiled, adam)


@dataclass(frozen=True)
class Minibatches:
    """Minibatches in a new order every epoch, gathered from tensors in memory, with their noise."""

    torch: Any
    images: Any
    labelled: Any
    labels: Any
    batch: int

    def __len__(self) -> int:
        return len(self.images) // self.batch

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        torch, device = self.torch, self.images.device
        shuffled = partial(torch.randperm, device=device)
        noise = [torch.zeros(3 * self.batch, width, device=device) for width in WIDTHS]
        used = shuffled(len(self.labels))[: self.batch]
        labelled, labels = self.labelled[used], self.labels[used]
        order = shuffled(len(self.images))[: len(self) * self.batch]
        for chosen in order.split(self.batch):
            for level in noise:
                level[: 2 * self.batch].normal_()  # the last third of the images stay clean
            yield self.images[chosen], labelled, labels, noise


def cost_torch(torch: Any, params: Sequence[Any]) -> Any:
    """The cost of `dae_jax.ladder`; labelled, noisy and clean images share each product.

    Args:
        torch: PyTorch.
        params: The leaves of `ladder.Params`.

    Returns:
        ``loss(images, labelled, labels, noise)``, with a standard normal number per image and unit
        of each layer, and 0 for the clean images.
    """
    nn, top = torch.nn.functional, len(WIDTHS) - 1
    Ws, betas, gamma = params[:top], params[top : 2 * top], params[2 * top]
    Vs, combinators = params[2 * top + 1 : 3 * top + 1], params[3 * top + 1 :]

    def normalise(z: Any) -> Any:
        return nn.batch_norm(z, None, None, training=True, eps=EPSILON)

    def combine(a: Any, z_tilde: Any, u: Any) -> Any:
        # mu and gain side by side, as they have the same form
        factor, slope, offset, linear, constant = a.view(2, 5, 1, -1).unbind(1)
        squashed = torch.sigmoid(torch.addcmul(offset, slope, u))
        both = torch.addcmul(torch.addcmul(constant, linear, u), factor, squashed)
        mu, gain = both.unbind(0)
        return torch.lerp(mu, z_tilde, gain)  # (z_tilde - mu) gain + mu

    def loss(x: Any, labelled: Any, labels: Any, noise: Sequence[Any]) -> Any:
        n = len(labelled)
        sizes = [n, len(x), len(x)]
        h = torch.cat([labelled, x, x]).add_(noise[0], alpha=NOISE)
        z, z_tilde, of = [x], [h[n : n + len(x)]], []
        for level in range(top):
            *noisy, clean = (h @ Ws[level]).split(sizes)
            variance, mean = torch.var_mean(clean, 0, correction=0)
            of.append((mean, torch.rsqrt(variance + EPSILON)))
            z.append((clean - mean) * of[-1][1])
            both = torch.cat([*map(normalise, noisy), z[-1]]).add_(noise[level + 1], alpha=NOISE)
            z_tilde.append(both[n : n + len(x)])
            h = both + betas[level]
            h = h * gamma if level == top - 1 else h.relu_()
        cost, estimate = nn.cross_entropy(h[:n], labels), torch.softmax(h[n : n + len(x)], 1)
        for level in range(top, -1, -1):
            u = estimate if level == top else estimate @ Vs[level]
            estimate = combine(combinators[level], z_tilde[level], normalise(u))
            wanted = estimate
            if level:
                mean, scale = of[level - 1]
                wanted = (estimate - mean) * scale
            cost = cost + WEIGHTS[level] * nn.mse_loss(wanted, z[level])
        return cost

    return loss


def products() -> list[tuple[int, int, int]]:
    """The matrix products of an update, as (rows, inner size, columns).

    The three parts of a minibatch (with noise and labels, with noise, and clean) share those of the
    encoder; the decoder has one part. Pixels have no gradient.
    """
    found = []
    for below, units in itertools.pairwise(WIDTHS):
        n = 3 * BATCH
        found += [(n, below, units), (below, n, units)]
        found += [(n, units, below)] if below != WIDTHS[0] else []
        found += [(BATCH, units, below), (units, BATCH, below), (BATCH, below, units)]
    return found


def floor(folder: Path, batch: int, device: str, **_: Any) -> Epoch:
    """An update's matrix products alone: NumPy's BLAS, or cuBLAS on a GPU."""
    n_batches = len(np.load(folder / "images.npy", mmap_mode="r")) // batch
    rng, torch = np.random.default_rng(0), None
    each: list[Any] = [
        [rng.random(shape, np.float32) for shape in ((n, k), (k, m), (n, m))]
        for n, k, m in products()
    ]
    if device == "cuda":
        torch = contestants.load_torch(folder, batch, device)[0]
        each = [[torch.from_numpy(a).cuda() for a in one] for one in each]
    return contestants.products_alone(torch, each, n_batches)


def check(torch: Any, folder: Path, device: str) -> None:
    """Check that PyTorch computes the cost and the gradient of JAX, with the same noise."""
    x, labelled, labels, *noise = tensors(torch, folder / "check_batch.npz", device)
    params = [leaf.requires_grad_() for leaf in tensors(torch, folder / "check_params.npz", device)]
    cost = cost_torch(torch, params)(x, labelled, labels.long(), noise)
    cost.backward()
    wanted, *gradient = load(folder / "check_wanted.npz")
    if not abs(cost.item() / wanted - 1) <= TOLERANCE:
        raise SystemExit(f"the cost of PyTorch is {cost.item():.7g}, that of JAX {wanted:.7g}")
    for k, (param, leaf) in enumerate(zip(params, gradient, strict=True)):
        difference = np.linalg.norm(param.grad.cpu().numpy() - leaf) / np.linalg.norm(leaf)
        if not difference <= TOLERANCE:
            raise SystemExit(f"gradient {k}, {leaf.shape}: PyTorch's differs by {difference:.1g}")


def load(path: Path) -> list[np.ndarray]:
    with np.load(path) as arrays:
        return [arrays[f"arr_{k}"] for k in range(len(arrays.files))]


def tensors(torch: Any, path: Path, device: str) -> list[Any]:
    return [torch.from_numpy(array).to(device) for array in load(path)]


def prepare(folder: Path, how: Row) -> None:
    """Write the images, the initial weights, and a cost with its gradient to compare with."""
    import jax

    from dae_jax import autoencoder, datasets
    from dae_jax.datasets.labels import evenly

    console.set_up_jax("float64", 1)
    dataset, n = datasets.load_default(), 5000 if how["quick"] else None
    images, labels = dataset.train.images[:n], np.asarray(dataset.train.labels)[:n]
    chosen = evenly(labels, BATCH, 0)
    labelled = images[chosen], labels[chosen]
    np.save(folder / "images.npy", images)
    np.savez(folder / "labelled.npz", *labelled)
    cost, params = model_jax()
    leaves, structure = jax.tree.flatten(params)
    np.savez(folder / "params.npz", *(np.asarray(leaf, np.float32) for leaf in leaves))

    # Away from the initial parameters, where the decoder's gradients are 0.
    keys = jax.random.split(jax.random.key(0), len(leaves) + 1)
    moved = [a + 0.05 * jax.random.normal(k, a.shape) for a, k in zip(leaves, keys, strict=False)]
    x, key = images[:BATCH], keys[-1]
    moved_params = jax.tree.unflatten(structure, moved)
    wanted, gradient = jax.jit(jax.value_and_grad(cost))(moved_params, (x, labelled), key)
    drawn = [
        jax.random.normal(k, (2 * BATCH, width))
        for k, width in zip(jax.random.split(key, len(WIDTHS)), WIDTHS, strict=True)
    ]
    noise = [np.pad(level, ((0, BATCH), (0, 0))) for level in drawn]
    pixels = [np.asarray(autoencoder.pixels(part, 255)) for part in (x, labelled[0])]
    np.savez(folder / "check_batch.npz", *pixels, labelled[1], *noise)
    np.savez(folder / "check_params.npz", *moved)
    np.savez(folder / "check_wanted.npz", wanted, *jax.tree.leaves(gradient))
    turns.write_facts(folder, dataset.name, len(images))


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    with turns.prepared(settings) as (folder, report):
        report.say("## ladder")
        device = "cpu" if report.machine["backend"] == "cpu" else "cuda"
        how: Row = {"batch": BATCH, "device": device}
        entries: dict[str, Row] = {
            "dae_jax": how | {"contestant": "ladder_jax"},
            "PyTorch eager": how | {"contestant": "ladder_torch"},
            "torch.compile": how | {"contestant": "ladder_torch", "compiled": True},
            "floor": how | {"contestant": "floor"},
        }
        rows = turns.measure(folder, 2 if settings.quick else 7, entries)
        report.numbers["ladder"] = rows
        turns.check_learning(rows)
        eager = ratio(rows["PyTorch eager"], rows["dae_jax"])
        target = "ladder, PyTorch eager / dae_jax", eager, ">=", 1.3
        report.say(turns.in_words(rows, [target]))
    return 0


if __name__ == "__main__":
    sys.exit(turns.start(main, prepare, [ladder_jax, ladder_torch, floor]))
