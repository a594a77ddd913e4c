"""The run of ``python -m dae_jax.pretrain --preset few-labels``: a ladder network, one stage.

Everything has a leading axis of members, one per seed, even if there is only one. Each member draws
its own labelled images.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Key

from dae_jax import autoencoder, corruption, evaluation, ladder, training
from dae_jax.datasets import Dataset, Split, checks
from dae_jax.datasets.labels import evenly
from dae_jax.errors import InputError
from dae_jax.runs import run as runs
from dae_jax.runs import saved, stage
from dae_jax.runs.run import Member, Run
from dae_jax.runs.stack import INIT, Tuned, keys
from dae_jax.runs.stage import Stage
from dae_jax.settings.ladder import Settings
from dae_jax.stacked import Classifier
from dae_jax.training import Report, Watch, member

__all__ = ["STAGE", "begin", "labelled", "predictor", "train"]

STAGE = "ladder"
"""The name of the one stage, which is also that of its folder."""
MOST = 10_000
"""Images whose statistics prediction normalises with."""


def begin(settings: Settings, command: str) -> Run[Settings]:
    """Load and check the data, resolve the settings, and open the run directory.

    Args:
        settings: The settings, checked.
        command: The command as it was typed.

    Raises:
        InputError: A mistake in the settings or in the data.
    """
    d, t = settings.data, settings.training
    dataset, instead = runs.load_data(d)
    checks.check_labels(dataset)
    checks.check_shift(dataset, t.shift)
    if d.unlabelled is not None:
        dataset = checks.with_unlabelled(dataset, d.unlabelled, d.image_size)
    if d.labels is not None:
        checks.check_budget(dataset, d.labels)
    images = dataset.pretraining_images
    checks.check_varying(dataset.name, images)
    if t.batch_size > len(images):
        expected = f"at most {len(images)}, the training images"
        raise InputError("--batch-size", expected=expected, got=t.batch_size)
    resolved = settings.resolved(dataset.name, len(images))
    n_labelled = d.labels or len(dataset.train.images)
    print(
        f"{n_labelled:,} labelled images and {len(images):,} for the denoising costs: "
        f"{resolved.epochs} epochs, {resolved.epochs * (len(images) // t.batch_size):,} updates"
    )
    members = [Member(f"seed_{seed}", seed) for seed in settings.seeds]
    return runs.open_run(resolved, dataset, members, command, instead_of_mnist=instead)


def train(run: Run[Settings]) -> Tuned | None:
    """Train the network of every seed; None after Ctrl-C.

    The weights after the last epoch, when the rate has fallen to 0, are kept: a choice of the epoch
    by a few validation images would be worse.
    """
    s, dataset = run.settings, run.dataset
    images, n_classes = dataset.pretraining_images, dataset.train.n_classes
    n, t = len(images), s.training
    parts = [labelled(dataset, s, i) for i in range(len(s.seeds))]
    optimizer = training.optimiser(
        "adam", t.learning_rate, falling=(2 / 3 * s.epochs, s.epochs), updates=n // t.batch_size
    )
    widths = [images.shape[1], *s.network.hidden, n_classes]
    own_keys = keys(s.seeds, 0)
    watch = None
    if len(dataset.valid.images) and dataset.valid.labels is not None:
        watch = _Errors(dataset.valid, images, run.pixel_scale)
    trained = stage.train(
        Stage(
            optimizer,
            s.epochs,
            t.batch_size,
            shuffle=True,
            learning_rate=f"--learning-rate, which is {t.learning_rate:g}",
            place=run.place(STAGE, run.folder / STAGE),
            labelled_batch_size=min(t.labelled_batch_size, len(parts[0].images)),
        ),
        *training.sweep(
            [_cost(s, dataset, run.pixel_scale)] * len(s.seeds),
            [ladder.init(key, widths) for key in keys(s.seeds, INIT)],
            optimizer,
        ),
        images,
        own_keys,
        watch,
        labelled=tuple(np.stack(part) for part in zip(*parts, strict=True)),
    )
    if trained is None:
        return None
    params = jax.device_get(trained.state.params)
    models = [
        predictor(member(params, i), images, run.pixel_scale) for i in range(len(run.members))
    ]
    return Tuned(jax.device_get(models), None)


def predictor(params: ladder.Params, images: np.ndarray, pixel_scale: float) -> Classifier:
    """The classifier of a network, normalised with the statistics of the first training images.

    Args:
        params: The network.
        images: Training images, with or without labels; the first `MOST` of them are used.
        pixel_scale: Divisor of integer pixels.
    """
    return _predictor(params, images[:MOST], pixel_scale)


@jax.jit
def _predictor(params: ladder.Params, images: Array, pixel_scale: Array) -> Classifier:
    x = autoencoder.pixels(images, pixel_scale)
    return ladder.classifier(params, ladder.statistics(params, x))


class _Errors(Watch):
    """A watch that computes validation errors, for the metrics; it chooses nothing."""

    def __init__(self, valid: Split, images: np.ndarray, pixel_scale: float):
        self._valid, self._images, self._scale = valid, images, pixel_scale

    def after(self, report: Report) -> dict[str, Any]:
        """Compute the errors after an epoch."""
        images, labels = self._valid
        assert labels is not None
        errors = []
        for i in range(report.cost.size):
            model = predictor(member(report.state.params, i), self._images, self._scale)
            logits = saved.logits("relu")
            errors.append(evaluation.error_rate(logits, model, images, labels, self._scale))
        return {"valid_error": errors}


def labelled(dataset: Dataset, settings: Settings, i: int) -> Split:
    """The labelled images of member i, (n, pixels), and their labels."""
    images, labels = dataset.train
    assert labels is not None
    n = settings.data.labels or len(labels)
    draw = evenly(labels, n, settings.seeds[i])
    return Split(images[draw], labels[draw])


def _cost(settings: Settings, dataset: Dataset, pixel_scale: float) -> Callable[..., Any]:
    weights, shift = settings.network.weights(), settings.training.shift
    cost: Callable[..., Any] = partial(ladder.cost, weights=weights)
    if shift:
        assert dataset.image_shape is not None
        cost = partial(_shifted, cost=cost, image_shape=dataset.image_shape, furthest=shift)
    noise = np.full(len(weights), settings.network.noise)
    return training.bind(cost, noise=noise, pixel_scale=pixel_scale)


def _shifted(
    params: ladder.Params,
    batch: tuple[Array, tuple[Array, Array]],
    key: Key[Array, ""],
    *,
    cost: Callable[..., Array],
    image_shape: Sequence[int],
    furthest: int,
    **numbers: Any,
) -> Array:
    """The cost of images that are shifted first, with and without labels; see `corruption.shift`.

    Its six parameters are a cost's three, and three that select code.
    """
    moving, moving_labelled, rest = jax.random.split(key, 3)
    unlabelled, (images, labels) = batch
    shifted = corruption.shift(moving, unlabelled, image_shape, furthest)
    with_labels = corruption.shift(moving_labelled, images, image_shape, furthest), labels
    return cost(params, (shifted, with_labels), rest, **numbers)
