"""The stages of a stack: each layer in turn, on the codes of the one below, then all with labels.

Everything has a leading axis of members, one a seed, also where there is only one. What a stage
has finished is a file; a run that goes on reads it, and begins at the first one missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from dae_jax import augmentation, autoencoder, stacked, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset, Split
from dae_jax.early_stopping import Best, Patience
from dae_jax.runs import checkpoints
from dae_jax.runs import stage as runs
from dae_jax.settings.pretrain import PROG, Config
from dae_jax.stacked import Classifier, Layer

CHUNK = 10_000  # images whose codes are computed at once
INIT = 2**32 - 1  # folded into a seed's key for the weights; stages fold in their number, from 0


@dataclass(frozen=True)
class Run:
    """One call of the command: one stack, or one for each seed."""

    settings: Config
    dataset: Dataset
    images: np.ndarray  # to pretrain on: those of `dataset.train`, and others without labels
    instead_of_mnist: bool
    folder: Path
    command: str  # that began it, as it was typed, for the record

    @property
    def pixel_scale(self) -> float:
        """What integer pixels are divided by."""
        return self.settings.data.pixel_scale

    @property
    def stages(self) -> list[str]:
        """The names of the stages, in order."""
        return [f"layer_{k + 1}" for k in range(len(self.settings.stack.hidden))] + ["finetune"]

    @property
    def go_on_with(self) -> str:
        """The command that resumes the run."""
        return f"{PROG} --resume --run-dir {self.folder}"

    def keys(self, stage: int) -> Array:
        """A key a member, for everything that a stage draws."""
        keys = [jax.random.fold_in(jax.random.key(seed), stage) for seed in self.settings.seeds]
        return jnp.stack(keys)

    def finished(self, *files: Path) -> bool:
        """Whether these files are all there, left by the call that this one resumes."""
        return self.settings.output.resume and all(file.exists() for file in files)

    def member_folder(self, i: int) -> Path:
        """Where a member's files go: the run directory itself, if there is only one."""
        seeds = self.settings.seeds
        return self.folder if len(seeds) == 1 else self.folder / f"seed_{seeds[i]}"


def fresh(run: Run) -> list[list[AnyParams]]:
    """Every member's dAs before any training, from the images up."""
    s = run.settings
    n_visible, hidden = run.images.shape[1], s.stack.hidden
    if s.stack.init == "tutorial":
        return [stacked.init_tutorial(seed, n_visible, hidden) for seed in s.seeds]
    return [stacked.init(key, n_visible, hidden) for key in run.keys(INIT)]


def pretrain(run: Run) -> list[AnyParams] | None:
    """Train layer after layer, each on the clean codes of those below; None after Ctrl-C.

    Returns:
        The layers, their leaves with the axis of members.
    """
    layers: list[AnyParams] = []
    data: np.ndarray = run.images
    for k, members in enumerate(zip(*fresh(run), strict=True)):
        if k:
            data = codes(layers[-1], data, run.pixel_scale, own_data=k > 1)
        files = [
            run.member_folder(i) / f"{run.stages[k]}.safetensors"
            for i in range(len(run.settings.seeds))
        ]
        if run.finished(*files):
            layers.append(training.stack([checkpoints.load_params(file) for file in files]))
            continue
        trained = _train_layer(run, k, training.stack(members), data)
        if trained is None:
            return None
        layers.append(trained)
        about = run.settings.layer(k)
        for i, file in enumerate(files):
            checkpoints.save_params(file, training.member(trained, i), about)
    return layers


def _train_layer(run: Run, k: int, first: AnyParams, data: np.ndarray) -> AnyParams | None:
    s, own = run.settings, run.settings.layer(k)
    if own["pretrain_epochs"] == 0:
        return jax.device_get(first)
    rate = own["pretrain_learning_rate"]
    optimizer = training.optimiser("sgd", rate)
    fixed = partial(
        autoencoder.denoising_cost,
        noise=own["noise"],
        objective=own["cost"],
        decoder=own["decoder"],
    )
    level, scale = jnp.asarray(own["corruption"], float), jnp.asarray(run.pixel_scale, float)
    cost = jax.tree_util.Partial(fixed, level=level, pixel_scale=scale)
    n, batch = len(run.images), s.pretraining.batch_size
    stage = runs.Stage(
        run.folder / run.stages[k],
        own["pretrain_epochs"],
        n // batch * batch * len(s.seeds),
        f"--pretrain-learning-rate, which is {rate:g}",
        run.go_on_with,
        f"layer {k + 1}",
    )
    done = runs.train(
        stage,
        *_members(run, cost, first, optimizer),
        data,
        run.keys(k),
        resume=s.output.resume,
        optimizer=optimizer,
        batch_size=batch,
        shuffle=s.pretraining.shuffle,
        own_data=k > 0,
    )
    return None if done is None else jax.device_get(done.params)


def _members(run: Run, cost: Any, params: Any, optimizer: Any) -> tuple[Any, training.State]:
    """The cost and the first state of all members."""
    each = range(len(run.settings.seeds))
    states = [training.start_state(training.member(params, i), optimizer) for i in each]
    return training.stack([cost for _ in each]), training.stack(states)


def codes(layer: Any, data: np.ndarray, pixel_scale: float, *, own_data: bool) -> np.ndarray:
    """The clean codes of one layer for every member: computed once, and kept.

    Args:
        layer: A layer, its leaves with the axis of members.
        data: Its inputs, (images, inputs), or (members, images, inputs) where they are `own_data`.
        pixel_scale: What integer pixels are divided by.
        own_data: Whether each member has inputs of its own.

    Returns:
        (members, images, units), float32 unless JAX is set to double precision.
    """
    n_members, n = layer.W.shape[0], data.shape[1 if own_data else 0]
    found = np.empty((n_members, n, layer.W.shape[2]), jnp.asarray(0.0).dtype)
    for i in range(n_members):
        one, inputs = training.member(layer, i), data[i] if own_data else data
        for at in range(0, n, CHUNK):
            part = slice(at, at + CHUNK)
            found[i, part] = _encode(one.W, one.b, inputs[part], pixel_scale)
    return found


@jax.jit
def _encode(W: Array, b: Array, inputs: Array, pixel_scale: float | Array) -> Array:
    return jnp.asarray(stacked.encode([Layer(W, b)], autoencoder.pixels(inputs, pixel_scale)))


class Tuned(NamedTuple):
    """What fine-tuning came to: each member's classifier, and what chose it."""

    models: list[Classifier]
    rule: Patience | None  # None where nothing was held out to choose by: the last ones


def finetune(
    run: Run,
    folder: Path,
    layers: Sequence[AnyParams],
    images: np.ndarray,
    labels: np.ndarray,
    *,
    learning_rate: float,
    freeze: bool,
    own_data: bool = False,
    title: str = "fine-tuning",
) -> Tuned | None:
    """Train a classifier on top of `layers` with labels; None after Ctrl-C.

    Args:
        run: The run.
        folder: Where this stage's metrics and checkpoints go.
        layers: Pretrained or fresh ones, their leaves with the axis of members.
        images: (images, pixels), or (members, images, pixels) where they are `own_data`.
        labels: (images,), likewise; 0 .. K-1.
        learning_rate: Step size.
        freeze: Leave `layers` as they are: train the softmax layer alone, on their stored codes.
        own_data: Whether each member has images of its own.
        title: What the progress calls it.
    """
    s, f = run.settings, run.settings.finetuning
    n_members = len(s.seeds)
    if freeze:
        for layer in layers:
            images = codes(layer, images, run.pixel_scale, own_data=own_data)
            if not own_data:
                labels, own_data = np.stack([labels] * n_members), True
    n_classes = run.dataset.train.n_classes
    wholes = [
        stacked.classifier(training.member(layers, i), images.shape[-1], n_classes)
        for i in range(n_members)
    ]

    def whole(i: int, model: Classifier) -> Classifier:
        return model._replace(hidden=wholes[i].hidden) if freeze else model

    models = [model._replace(hidden=()) if freeze else model for model in wholes]
    n = images.shape[1 if own_data else 0]
    batch = min(f.finetune_batch_size, n)
    updates = n // batch
    optimizer = training.optimiser(
        f.finetune_optimizer,
        learning_rate,
        decay=f.learning_rate_decay,
        updates=updates,
        weight_decay=f.weight_decay,
    )
    numbers: dict[str, Any] = {"pixel_scale": jnp.asarray(run.pixel_scale, float)}
    if any(f.dropout):
        inputs, hidden = f.dropout
        first = hidden if freeze else inputs  # a frozen stack's codes are hidden units
        numbers["dropout"] = jnp.asarray(first, float), jnp.asarray(hidden, float)
    fixed: Callable[..., Any] = stacked.cost
    if f.shift:
        assert run.dataset.image_shape is not None
        fixed = augmentation.shifted(fixed, run.dataset.image_shape, f.shift)
    cost = jax.tree_util.Partial(fixed, **numbers)

    watch, valid = None, run.dataset.valid
    if len(valid.images) and valid.labels is not None:
        wrong = error_counter(run, valid)
        watch = Best(training.stack(models), lambda i, model: wrong(whole(i, model)), updates)
    stage = runs.Stage(
        folder,
        f.finetune_epochs,
        updates * batch * n_members,
        f"--finetune-learning-rate, which is {learning_rate:g}",
        run.go_on_with,
        title,
    )
    done = runs.train(
        stage,
        *_members(run, cost, training.stack(models), optimizer),
        (images, labels),
        run.keys(len(layers)),
        resume=s.output.resume,
        watch=watch,
        optimizer=optimizer,
        batch_size=batch,
        shuffle=f.finetune_shuffle,
        own_data=own_data,
    )
    if done is None:
        return None
    last = done.params if watch is None else watch.params
    finished = [whole(i, training.member(last, i)) for i in range(n_members)]
    return Tuned(jax.device_get(finished), None if watch is None else watch.rule)


def error_counter(run: Run, split: Split) -> Callable[[Classifier], float]:
    """A function that tells the share of a split's images that one model gives a wrong class."""
    images = jnp.asarray(split.images)
    return lambda model: float(np.mean(predict(model, images, run.pixel_scale) != split.labels))


def predict(model: Classifier, images: Any, pixel_scale: float) -> np.ndarray:
    """The likeliest class of each image."""
    return np.asarray(_likeliest(model, images, pixel_scale))


@jax.jit
def _likeliest(model: Classifier, images: Array, pixel_scale: float | Array) -> Array:
    return jnp.argmax(stacked.logits(model, autoencoder.pixels(images, pixel_scale)), axis=-1)
