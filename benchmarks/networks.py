"""How fast are the deep autoencoder and LeNet, compared with PyTorch?

    pip install ".[bench,experiments]" && python benchmarks/networks.py [--quick]

One epoch of each is measured in turns, from the same weights, in the order of the file.
benchmarks/README.md says how to read the tables.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import contestants
import numpy as np
import turns
from turns import Epoch, Row, ratio

from dae_jax import console
from dae_jax.settings import shared

Table = Literal["deep-autoencoder", "lenet"]
TABLES: tuple[Table, ...] = get_args(Table)
SIZES = 784, 1000, 500, 250, 30  # Hinton & Salakhutdinov's
BATCH: dict[Table, int] = {"deep-autoencoder": 128, "lenet": 50}
RATE: dict[Table, float] = {"deep-autoencoder": 1e-3, "lenet": contestants.RATE}


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure dae_jax against PyTorch on the deep autoencoder and on LeNet."""

    prog: ClassVar[str] = "python benchmarks/networks.py"
    only: tuple[Table, ...] = TABLES
    """The tables to make."""


def deep_jax(folder: Path, batch: int, **_: Any) -> Epoch:
    """`training.fit` of `deep.cost`, with Adam."""
    import jax

    from dae_jax import deep, stacked

    architecture = deep.Architecture(SIZES, code="linear")
    Ws = load(folder, "W")
    layers = [stacked.Layer(W, np.zeros(W.shape[1], np.float32)) for W in Ws]
    half = len(layers) // 2
    params = jax.device_put(deep.Untied(tuple(layers[:half]), tuple(layers[half:])))
    cost = partial(deep.cost, architecture=architecture, objective="squared-error")
    return fit(cost, params, np.load(folder / "images.npy"), batch, "adam", "deep-autoencoder")


def lenet_jax(folder: Path, batch: int, **_: Any) -> Epoch:
    """`training.fit` of `supervised.cost`, with SGD."""
    from dae_jax import supervised

    graph, params = lenet()
    data = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    return fit(partial(supervised.cost, graph=graph), params, data, batch, "sgd", "lenet")


def lenet() -> Any:
    from flax import nnx

    from dae_jax import supervised

    return supervised.split(supervised.LeNet(rngs=nnx.Rngs(123)))


def fit(cost: Any, params: Any, data: Any, batch: int, optimizer: str, table: Table) -> Epoch:
    import jax

    from dae_jax import training

    console.set_up_jax("float32", 1)
    rule = training.optimiser(optimizer, RATE[table])
    reports = training.fit(
        training.bind(cost, pixel_scale=255),
        training.start_state(params, rule),
        data,
        jax.random.key(123),
        optimizer=rule,
        epochs=sys.maxsize,
        batch_size=batch,
    )
    return lambda: next(reports).cost.item()  # it has waited for the device


def deep_torch(folder: Path, batch: int, device: str, compiled: bool = False, **_: Any) -> Epoch:
    """Idiomatic PyTorch, with its fused Adam."""
    torch, images = contestants.load_torch(folder, batch, device)
    nn = torch.nn.functional
    Ws = [torch.from_numpy(W.T.copy()).to(device) for W in load(folder, "W")]
    bs = [torch.zeros(len(W), device=device) for W in Ws]
    params = [param.requires_grad_() for param in (*Ws, *bs)]
    code = len(Ws) // 2 - 1

    def loss(x: Any) -> Any:
        y = x
        for k, (W, b) in enumerate(zip(Ws, bs, strict=True)):
            y = nn.linear(y, W, b)
            y = y if k == code else torch.sigmoid(y)
        return nn.mse_loss(y, x, reduction="sum") / batch

    adam = torch.optim.Adam(params, lr=RATE["deep-autoencoder"], fused=True)
    return contestants.learn(torch, loss, params, [(x,) for x in images], compiled, adam)


def lenet_torch(folder: Path, batch: int, device: str, compiled: bool = False, **_: Any) -> Epoch:
    """Idiomatic PyTorch; its convolutions are those of oneDNN on a CPU."""
    torch, images = contestants.load_torch(folder, batch, device)
    nn = torch.nn.functional
    tensors = [torch.from_numpy(array).to(device) for array in load(folder, "lenet")]
    K1, c1, K2, c2, W, b, V, c = params = [tensor.requires_grad_() for tensor in tensors]
    labels = torch.from_numpy(np.load(folder / "labels.npy")).to(device).long()

    def loss(x: Any, labels: Any) -> Any:
        h = x.view(-1, 1, 28, 28)
        for kernel, bias in ((K1, c1), (K2, c2)):
            h = torch.tanh(nn.max_pool2d(nn.conv2d(h, kernel, bias), 2))
        h = torch.tanh(nn.linear(h.flatten(1), W, b))
        return nn.cross_entropy(nn.linear(h, V, c), labels)

    batches = list(zip(images, labels.split(batch), strict=False))  # a remainder is dropped
    return contestants.learn(torch, loss, params, batches, compiled)


def load(folder: Path, name: str) -> list[np.ndarray]:
    return [np.load(path) for path in sorted(folder.glob(f"{name}_*.npy"))]


def prepare(folder: Path, how: Row) -> None:
    """Write the images and the initial weights, the same for all contestants."""
    import jax

    from dae_jax import datasets, deep

    dataset, n = datasets.load_default(), 5000 if how["quick"] else None
    images = dataset.train.images[:n]
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.asarray(dataset.train.labels)[:n])
    params = deep.init(jax.random.key(123), deep.Architecture(SIZES, code="linear"), gain=4.0)
    assert isinstance(params, deep.Untied)
    for k, layer in enumerate((*params.encoder, *params.decoder)):
        np.save(folder / f"W_{k}.npy", layer.W)
    for k, array in enumerate(as_torch_has_them(lenet().params)):
        np.save(folder / f"lenet_{k}.npy", array)
    turns.write_facts(folder, dataset.name, len(images))


def as_torch_has_them(params: Any) -> list[np.ndarray]:
    """LeNet's kernels and weights, outputs first and channels before pixels."""
    convolutions, top = params["convolutions"], params["classifier"]
    arrays = []
    for k in range(2):
        layer = convolutions[k]
        arrays += [np.transpose(layer["kernel"][...], (3, 2, 0, 1)), layer["bias"][...]]
    hidden = top["hidden"][0]
    W = np.asarray(hidden["kernel"][...]).reshape(4, 4, 50, -1)
    arrays += [W.transpose(3, 2, 0, 1).reshape(W.shape[-1], -1), hidden["bias"][...]]
    arrays += [np.transpose(top["top"]["kernel"][...]), top["top"]["bias"][...]]
    return [np.ascontiguousarray(array) for array in arrays]


def entries_of(table: Table, about: Row) -> dict[str, Row]:
    """The rows of a table; the first is the reference."""
    device = "cpu" if about["backend"] == "cpu" else "cuda"
    how: Row = {"batch": BATCH[table], "device": device}
    name = "deep" if table == "deep-autoencoder" else "lenet"
    return {
        "dae_jax": how | {"contestant": f"{name}_jax"},
        "PyTorch eager": how | {"contestant": f"{name}_torch"},
        "torch.compile": how | {"contestant": f"{name}_torch", "compiled": True},
    }


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    with turns.prepared(settings) as (folder, report):
        for table in settings.only:
            report.say(f"## {table}")
            rounds = 2 if settings.quick else 5
            rows = turns.measure(folder, rounds, entries_of(table, report.machine))
            report.numbers[table] = rows
            turns.check_learning(rows)
            eager = ratio(rows["PyTorch eager"], rows["dae_jax"])
            target = f"{table}, PyTorch eager / dae_jax", eager, ">=", 1
            report.say(turns.in_words(rows, [target]))
    return 0


if __name__ == "__main__":
    sys.exit(turns.start(main, prepare, [deep_jax, deep_torch, lenet_jax, lenet_torch]))
