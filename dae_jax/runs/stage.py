"""One training with everything around it: progress, metrics, checkpoints, resuming, Ctrl-C.

A dA is one stage; a stack has one for each layer and one for fine-tuning; an experiment has one for
each model, without files.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from dae_jax import autoencoder, console, processes, rows, training
from dae_jax.errors import InputError
from dae_jax.runs.checkpoints import Checkpoints, Metrics, read_metrics
from dae_jax.settings.shared import Denoising
from dae_jax.training import Report, Shuffle, State, Watch

__all__ = [
    "INIT",
    "RESTORED",
    "VALID",
    "DivergenceError",
    "Place",
    "Resources",
    "Stage",
    "Trained",
    "cost_of",
    "denoising_cost",
    "train",
]

PyTree = Any
INIT = 2**32 - 1
"""Folded into a seed's key for the weights; epochs or stages fold in their number, from 0."""
VALID, RESTORED = INIT - 1, INIT - 2
"""The same for the noise on images held out, during and after training."""


class DivergenceError(InputError):
    """A training whose cost or parameters are not finite any more."""


@dataclass(frozen=True)
class Place:
    """The name of a training and the folder of its files."""

    title: str = ""
    folder: Path | None = None  # of metrics.jsonl and checkpoints/; None to write no files
    resume: bool = False  # from the newest checkpoint, if there is one
    command: str = ""  # that resumes the run
    quiet: bool = False  # whether to print no epochs; a terminal shows a bar that disappears

    @property
    def metrics(self) -> Path | None:
        """The file of the metrics."""
        return None if self.folder is None else self.folder / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path | None:
        """The folder of the checkpoints."""
        return None if self.folder is None else self.folder / "checkpoints"


@dataclass(frozen=True)
class Resources:
    """How much of the machine a training uses; see `training.fit`."""

    block_size: int | None = None  # images of a block; None to train on all at once
    devices: int | None = None


@dataclass(frozen=True)
class Stage:
    """How a model is trained: optimiser, number of epochs, minibatches; see `training.fit`."""

    optimizer: optax.GradientTransformation
    epochs: int
    batch_size: int
    shuffle: Shuffle = False
    own_data: bool = False
    learning_rate: str = "the learning rate"  # as a flag and its value, for the advice to lower it
    place: Place = Place()
    updates: int | None = None  # in all, if the last epoch is cut short
    labelled_batch_size: int | None = None
    resources: Resources = Resources()


class Trained(NamedTuple):
    """The state after the last epoch, and one row of metrics for each epoch."""

    state: State
    rows: list[dict[str, Any]]


def train(
    stage: Stage,
    cost: Callable[..., Any],
    state: State,
    data: PyTree,
    key: jax.Array,
    watch: Watch | None = None,
    labelled: PyTree = None,
) -> Trained | None:
    """Train with progress, metrics and checkpoints; resumable to the bit.

    Args:
        stage: How, and where its files go.
        cost: See `training.fit`, as for `state`, `data`, `key` and `labelled`.
        watch: A callback after each epoch; its state is in the checkpoints.

    Returns:
        The last state and all metrics; None after Ctrl-C, which writes a checkpoint first.

    Raises:
        DivergenceError: The cost or the parameters of a member are not finite any more.
        InputError: A file cannot be written.
    """
    watch = Watch() if watch is None else watch
    place, n_images = stage.place, _n_images(stage, data)
    places = rows.blocks(n_images, stage.batch_size, stage.resources.block_size)
    blocks, files = len(places), [x for x in jax.tree.leaves(data) if isinstance(x, rows.Rows)]
    done = training.Part(0, 0, np.zeros(key.shape))
    where = f"{place.title}, " if place.title else ""

    def kept() -> PyTree:
        """The content of a checkpoint; with blocks the cost so far and checksums, too."""
        own = state, watch.kept
        return own if blocks == 1 else (*own, done.total, [x.checksums(places) for x in files])

    folder = place.checkpoints if processes.first() else None
    with Checkpoints(folder, blocks=blocks) as checkpoints:
        if place.resume and (found := _found(place, checkpoints, kept(), blocks)):
            number, (state, watch.kept, *more) = found
            total, checksums = more or (done.total, [])
            number = int(number)
            done = training.Part(*divmod(number, blocks), total)
            for x, checksum in zip(files, checksums, strict=bool(more)):
                x.expect(places, checksum)
            name, after = f"{place.title}: " if place.title else "", checkpoints.in_words(number)
            print(f"{name}resuming after {after} of {stage.epochs}")
        metrics = Metrics(place.metrics, up_to_epoch=done.epoch)
        if processes.decided(watch.done(done.epoch)):
            return Trained(state, metrics.rows)

        def finished(epoch: int) -> Any:
            """Members that need no more training, as the first process says."""
            return processes.agreed(watch.finished(epoch))

        def shown(report: Report, added: dict[str, Any]) -> dict[str, Any]:
            """The metrics of an epoch, or of a part of it, and what the watch has added."""
            return _row(report, added, finished(report.epoch - 1), metrics.rows)

        def save(*, now: bool = False) -> None:
            if now or checkpoints.due():
                metrics.sync()
                checkpoints.save(done.epoch * blocks + done.blocks, kept(), now=now)

        share = done.epoch + done.blocks / blocks
        with (
            console.Progress(
                stage.epochs, share, place.title, quiet=place.quiet, blocks=blocks
            ) as progress,
            _interruptible(place) as stopped,
        ):
            for report in _reports(stage, cost, state, (data, labelled), key, done, finished):
                _check_finite(report, stage, checkpoints)
                state, part = report.state, report.part
                if part is None:
                    row = shown(report, watch.after(report))
                    metrics.append(row)
                    done = training.Part(report.epoch, 0, np.zeros(key.shape))
                else:
                    row, done = shown(report, {}), part
                save()
                images = n_images // stage.batch_size * stage.batch_size * report.cost.size
                _show(progress, row, stage, images, done, blocks)
                if part is None and processes.decided(watch.done(done.epoch)):
                    break
                if processes.any_of(stopped()) and done.epoch < stage.epochs:
                    save(now=True)
                    after = checkpoints.in_words(done.epoch * blocks + done.blocks)
                    print(f"stopped after {where}{after}; resume with:  {place.command}")
                    return None
        save(now=True)
    return Trained(state, metrics.rows)


def _found(
    place: Place, checkpoints: Checkpoints, like: PyTree, blocks: int
) -> tuple[int, PyTree] | None:
    """The newest intact checkpoint whose epochs all have intact metrics; the others are removed.

    It is that of the first process.
    """
    found = _found_here(place, checkpoints, like, blocks) if processes.first() else None
    return processes.told(found, (0, like))


def _found_here(
    place: Place, checkpoints: Checkpoints, like: PyTree, blocks: int
) -> tuple[int, PyTree] | None:
    if place.metrics is None:
        return checkpoints.restore(like)
    intact, latest = len(read_metrics(place.metrics)), checkpoints.latest()
    if latest is not None and intact < latest // blocks:
        print(f"{place.metrics} is damaged after epoch {intact}: training again from before it")
    return checkpoints.restore(like, up_to=(intact + 1) * blocks - 1)


@jax.jit
def cost_of(cost: Callable[..., Any], params: PyTree, data: PyTree, key: jax.Array) -> jax.Array:
    """The cost of data that are not trained on, in one part."""
    return cost(params, data, key)


def denoising_cost(
    how: Denoising, pixel_scale: float, *, missing: bool = False
) -> jax.tree_util.Partial:
    """The cost of one dA, as its settings describe it, for `train` or `training.fit`.

    Args:
        how: The settings.
        pixel_scale: Divisor of integer pixels.
        missing: Whether NaN in the data are missing values.
    """
    return training.bind(
        autoencoder.denoising_cost,
        level=how.corruption,
        pixel_scale=pixel_scale,
        noise=how.noise,
        objective=how.cost,
        decoder=how.decoder,
        missing=missing,
        emphasis=how.emphasis,
    )


def _interruptible(place: Place) -> contextlib.AbstractContextManager[Callable[[], bool]]:
    """Ctrl-C waits for the end of the epoch, if a checkpoint can be written then."""
    return (
        contextlib.nullcontext(lambda: False) if place.folder is None else console.interruptible()
    )


def _reports(
    stage: Stage,
    cost: Callable[..., Any],
    state: State,
    both: PyTree,
    key: jax.Array,
    start: training.Part,
    finished: Callable[[int], Any],
) -> Any:
    data, labelled = both
    return training.fit(
        cost,
        state,
        data,
        key,
        optimizer=stage.optimizer,
        epochs=stage.epochs,
        batch_size=stage.batch_size,
        shuffle=stage.shuffle,
        updates=stage.updates,
        start=start,
        own_data=stage.own_data,
        labelled=labelled,
        labelled_batch_size=stage.labelled_batch_size,
        block_size=stage.resources.block_size,
        devices=stage.resources.devices,
        finished=finished if key.ndim else None,
    )


def _check_finite(report: Report, stage: Stage, checkpoints: Checkpoints) -> None:
    if report.finite:
        return
    title, newest = stage.place.title, checkpoints.latest()
    costs = " ".join(map(str, report.cost.reshape(-1).tolist()))
    kept = f" (the checkpoint of {checkpoints.in_words(newest)} is kept)" if newest else ""
    name = f"{title} training" if title else "training"
    raise DivergenceError(
        f"{name} diverged in epoch {report.epoch}: the cost is {costs}{kept}",
        do=f"lower {stage.learning_rate}",
    )


def _row(
    report: Report, added: dict[str, Any], finished: Any, before: list[dict[str, Any]]
) -> dict[str, Any]:
    """The metrics of one epoch; members that were finished before it keep the values they had."""
    of_members = {"costs": report.cost.reshape(-1).tolist()} | added
    if finished is not None and finished.any():
        for name, values in of_members.items():
            each = zip(finished, before[-1][name], values, strict=True)
            of_members[name] = [old if rests else new for rests, old, new in each]
    costs = of_members["costs"] if len(of_members["costs"]) > 1 else of_members.pop("costs")
    row = {"epoch": report.epoch, "cost": sum(costs) / len(costs)}
    return row | of_members | {"seconds": report.seconds}


def _n_images(stage: Stage, data: PyTree) -> int:
    return jax.tree.leaves(data)[0].shape[1 if stage.own_data else 0]


def _show(
    progress: console.Progress,
    row: dict[str, Any],
    stage: Stage,
    images: int,
    done: training.Part,
    blocks: int,
) -> None:
    """Show an epoch of so many images, or the part of one that is done."""
    costs = row.get("costs", [row["cost"]])
    words = "cost " + " ".join(f"{cost:#.6g}" for cost in costs)
    if "valid_error" in row:
        words += "  validation error " + " ".join(f"{e:.2%}" for e in row["valid_error"])
    if held_out := row.get("valid_costs", [row["valid_cost"]] if "valid_cost" in row else []):
        words += "  held out " + " ".join(f"{cost:#.6g}" for cost in held_out)
    share = done.blocks / blocks if done.blocks else 1.0
    speed = images * share / row["seconds"]
    left = (stage.epochs - row["epoch"] + 1 - share) * images / speed
    progress.show(row["epoch"], words, speed, left, done.blocks or blocks)
