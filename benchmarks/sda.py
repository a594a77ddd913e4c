"""How fast is the tutorial's whole stacked denoising autoencoder (SdA)?

    pip install ".[bench]" && python benchmarks/sda.py [--quick] [--only STAGE ...]

One epoch of each stage of the recipe is measured in turns: of pretraining each of the layers
784-1000-1000-1000, and of fine-tuning them as a classifier. The whole recipe is their sum, weighted
by the recipe's epochs. benchmarks/README.md says how to read the tables.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, ClassVar, Literal, get_args

import contestants
import numpy as np
import turns
from turns import Epoch, Row, ratio

from dae_jax import console
from dae_jax.settings import shared

Stage = Literal["layer-1", "layer-2", "layer-3", "fine-tuning"]
STAGES: tuple[Stage, ...] = get_args(Stage)

# The recipe.
HIDDEN, CLASSES, BATCH = (1000, 1000, 1000), 10, 20
LEVELS: dict[Stage, float] = {"layer-1": 0.1, "layer-2": 0.2, "layer-3": 0.3}
PRETRAINING_EPOCHS, FINE_TUNING_EPOCHS = 15, 20
EPOCHS: dict[Stage, int] = {
    stage: PRETRAINING_EPOCHS if stage in LEVELS else FINE_TUNING_EPOCHS for stage in STAGES
}
RATE = contestants.RATE  # of all stages


@dataclass(frozen=True)
class Settings(turns.Settings):
    """Measure dae_jax against PyTorch on the stages of the SdA."""

    prog: ClassVar[str] = "python benchmarks/sda.py"
    only: tuple[Stage, ...] = STAGES
    """The stages to measure; the whole recipe needs all of them."""


# Fine-tuning. The contestants for the layers are those for the dA; these read labels.npy and one W
# per layer, too.


def fine_tune_jax(folder: Path, batch: int, **_: Any) -> Epoch:
    """`training.fit` of `stacked.cost`."""
    import jax

    from dae_jax import stacked, training

    console.set_up_jax("float32", 1)
    optimizer = training.optimiser("sgd", RATE)
    cost = training.bind(stacked.cost, pixel_scale=255)
    images = np.load(folder / "images.npy")
    layers = [stacked.Layer(W, np.zeros(W.shape[1], np.float32)) for W in load_weights(folder)]
    model = stacked.classifier(jax.device_put(layers), images.shape[1], CLASSES)
    reports = training.fit(
        cost,
        training.start_state(model, optimizer),
        (images, np.load(folder / "labels.npy")),
        jax.random.key(123),
        optimizer=optimizer,
        epochs=sys.maxsize,
        batch_size=batch,
    )
    return lambda: next(reports).cost.item()  # it has waited for the device


def fine_tune_autograd(
    folder: Path, batch: int, device: str, compiled: bool = False, **_: Any
) -> Epoch:
    """Idiomatic PyTorch."""
    torch, images = contestants.load_torch(folder, batch, device)
    nn = torch.nn.functional
    new = partial(torch.zeros, device=device)
    # (outputs, inputs), as nn.Linear keeps them
    Ws = [torch.from_numpy(W.T.copy()).to(device) for W in load_weights(folder)]
    Ws.append(new(CLASSES, len(Ws[-1])))
    bs = [new(len(W)) for W in Ws]
    params = [param.requires_grad_() for param in (*Ws, *bs)]
    labels = torch.from_numpy(np.load(folder / "labels.npy")).to(device).long()

    def loss(y: Any, labels: Any) -> Any:
        for W, b in zip(Ws[:-1], bs[:-1], strict=True):
            y = torch.sigmoid(nn.linear(y, W, b))
        return nn.cross_entropy(nn.linear(y, Ws[-1], bs[-1]), labels)

    batches = list(zip(images, labels.split(batch), strict=False))  # a remainder is dropped
    return contestants.learn(torch, loss, params, batches, compiled)


def fine_tune_in_place(
    folder: Path, batch: int, device: str, graph: bool = False, **_: Any
) -> Epoch:
    """The best PyTorch we could write: backpropagation by hand, into preallocated buffers."""
    torch, images = contestants.load_torch(folder, batch, device)
    new = partial(torch.zeros, device=device)
    Ws = [torch.from_numpy(W).to(device) for W in load_weights(folder)]
    Ws.append(new(Ws[-1].shape[1], CLASSES))
    bs = [new(W.shape[1]) for W in Ws]
    ys, dys = ([new(batch, len(b)) for b in bs] for _ in range(2))
    total, rate = new(()), -RATE / batch

    def step(x: Any, wanted: Any) -> None:
        inputs = [x, *ys[:-1]]
        for y, W, b, out in zip(inputs, Ws, bs, ys, strict=True):
            torch.addmm(b, y, W, out=out)
            if W is not Ws[-1]:
                out.sigmoid_()
        torch.log_softmax(ys[-1], 1, out=dys[-1])
        total.sub_(torch.dot(dys[-1].view(-1), wanted.view(-1)), alpha=1 / batch)
        dys[-1].exp_().sub_(wanted)
        for k in reversed(range(len(Ws))):
            if k:  # before the update of these weights
                torch.mm(dys[k], Ws[k].T, out=dys[k - 1])
            Ws[k].addmm_(inputs[k].T, dys[k], alpha=rate)
            bs[k].add_(dys[k].sum(0), alpha=rate)
            if k:  # times y (1 - y)
                dys[k - 1].mul_(inputs[k]).addcmul_(dys[k - 1], inputs[k], value=-1)

    labels = torch.from_numpy(np.load(folder / "labels.npy")).to(device).long()
    one_hot = torch.eye(CLASSES, device=device)[labels]
    batches = list(zip(images, one_hot.split(batch), strict=False))  # a remainder is dropped
    return contestants.repeat(torch, step, [*Ws, *bs], batches, total, graph)


def load_weights(folder: Path) -> list[np.ndarray]:
    return [np.load(path) for path in sorted(folder.glob("W*.npy"))]


def prepare(folder: Path, how: Row) -> None:
    """Write one folder per stage: its inputs and initial weights, the same for all contestants.

    The layers below have the tutorial's initial weights and are not trained. This changes the
    numbers in the products of a step, not the work.
    """
    from dae_jax import autoencoder, datasets, stacked

    def write(stage: Stage, **arrays: Any) -> None:
        (folder / stage).mkdir()
        for name, array in arrays.items():
            np.save(folder / stage / f"{name}.npy", array)

    dataset, n = datasets.load_default(), 5000 if how["quick"] else None
    images, labels = dataset.train.images[:n], np.asarray(dataset.train.labels)[:n]
    layers = stacked.init_tutorial(89677, images.shape[1], HIDDEN)
    x = autoencoder.pixels(images, 255)
    for k, stage in enumerate(LEVELS):
        inputs = stacked.encode(layers[:k], x) if k else images
        write(stage, images=inputs, W=layers[k].W)
    weights = {f"W{k}": layer.W for k, layer in enumerate(layers)}
    write("fine-tuning", images=images, labels=labels, **weights)
    turns.write_facts(folder, dataset.name, len(images))


# The tables.


def entries_of(stage: Stage, about: Row) -> dict[str, Row]:
    """The rows of a table; the first is the reference."""
    how: Row = {"batch": BATCH, "device": "cpu" if about["backend"] == "cpu" else "cuda"}
    if stage in LEVELS:
        names = "dae_jax", "autograd", "in_place"
        return contestants.entries_of(how | {"level": LEVELS[stage]}, *names)
    names = "fine_tune_jax", "fine_tune_autograd", "fine_tune_in_place"
    return contestants.entries_of(how, *names)


def whole_recipe(stages: dict[Stage, dict[str, Row]]) -> dict[str, Row]:
    """The seconds of all stages together, for each round; empty unless all were measured."""
    whole: dict[str, Row] = {}
    for name in stages[STAGES[0]] if len(stages) == len(STAGES) else ():
        # A contestant that was skipped in one stage has no complete round.
        rounds = zip(*(stages[stage][name].get("seconds", []) for stage in STAGES), strict=False)
        weights = [EPOCHS[stage] for stage in STAGES]
        whole[name] = {"seconds": [float(np.dot(weights, seconds)) for seconds in rounds]}
    return whole


def recipe_in_words(stages: dict[Stage, dict[str, Row]], whole: dict[str, Row]) -> str:
    """One row per stage: the seconds of all its epochs, and the others' ratios to them."""
    names = next(iter(stages.values())).keys()
    rows = [(stage, EPOCHS[stage], EPOCHS[stage], rows) for stage, rows in stages.items()]
    if whole:
        rows.append(("whole recipe", sum(EPOCHS.values()), 1, whole))
    lines = []
    for what, epochs, times, row in rows:
        first, *others = (row[name] for name in names)
        ratios = [f"{r:.2f}" if (r := ratio(other, first)) else "" for other in others]
        lines.append([what, str(epochs), f"{times * median(first['seconds']):.0f}", *ratios])
    first, *others = names
    return turns.markdown(["", "epochs", f"{first} s", *(f"{o} / {first}" for o in others)], lines)


def targets_of(whole: dict[str, Row]) -> list[turns.Target]:
    """The targets of the whole recipe; the minutes are for two cores."""
    jax, eager = whole.get("dae_jax", {}), whole.get("PyTorch eager", {})
    minutes = median(jax["seconds"]) / 60 if jax else None
    return [
        ("whole recipe, PyTorch eager / dae_jax", ratio(eager, jax), ">=", 2),
        ("whole recipe, minutes of dae_jax", minutes, "<=", 12),
    ]


def main(argv: Sequence[str]) -> int:
    settings = shared.parse(Settings, argv)
    with turns.prepared(settings) as (folder, report):
        stages: dict[Stage, dict[str, Row]] = {}
        for stage in settings.only:
            report.say(f"## {stage}")
            rounds, entries = 2 if settings.quick else 3, entries_of(stage, report.machine)
            rows = stages[stage] = turns.measure(folder / stage, rounds, entries)
            turns.check_learning(rows)
            report.numbers[stage] = rows
            report.say(turns.in_words(rows))
        whole = report.numbers["whole-recipe"] = whole_recipe(stages)
        report.say("## whole-recipe")
        report.say(recipe_in_words(stages, whole))
        report.say(turns.targets_in_words(targets_of(whole)))
    return 0


if __name__ == "__main__":
    layers = contestants.dae_jax, contestants.autograd, contestants.in_place
    classifiers = fine_tune_jax, fine_tune_autograd, fine_tune_in_place
    sys.exit(turns.start(main, prepare, [*layers, *classifiers]))
