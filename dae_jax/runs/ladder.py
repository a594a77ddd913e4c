"""The run of ``python -m dae_jax.pretrain --preset few-labels``: a ladder network.

Everything has a leading axis of members, one per seed, even if there is only one. Each member draws
its own labelled images.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, Real

from dae_jax import autoencoder, corruption, evaluation, ladder, memory, records, training
from dae_jax.datasets import Dataset, Split, checks
from dae_jax.datasets.labels import evenly
from dae_jax.datasets.loading import has_fixed_split
from dae_jax.datasets.scaling import standardisation
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.objectives import AnyArray
from dae_jax.rows import AnyRows
from dae_jax.runs import estimates, saved, shifts, stage
from dae_jax.runs import run as runs
from dae_jax.runs.run import Member, Run
from dae_jax.runs.stack import keys
from dae_jax.runs.stage import Place, Stage
from dae_jax.settings.ladder import Data, Network, Settings
from dae_jax.stacked import Classifier, Layer
from dae_jax.training import Report, Watch, member

__all__ = [
    "STAGE",
    "Inputs",
    "Trained",
    "adam",
    "begin",
    "cost",
    "fit",
    "inputs",
    "labelled",
    "needs",
    "predictor",
    "train",
]

STAGE, FOLDS = "ladder", "folds"
"""The stage whose network is kept, and the one of cross-validation: the names of their folders."""
MOST = 10_000
"""Images whose statistics the inputs are standardised and predictions normalised with."""
N_FOLDS = 3
FEW = 1_000  # labelled images, of which none are held out


class Trained(NamedTuple):
    """Each member's classifier, and what the report says of their training."""

    models: list[Classifier]
    about: dict[str, Any]


class Inputs(NamedTuple):
    """The numbers that make inputs of mean 0 and variance 1 from pixels; see `inputs`."""

    mean: Float[AnyArray, "*pixels"]  # one number, or one for each column of a table
    spread: Float[AnyArray, "*pixels"]  # standard deviations
    pixel_scale: Float[AnyArray, ""]


class _One(NamedTuple):
    """A network to train: its seed, how far images are shifted, and its labelled images."""

    seed: int
    shift: int
    labelled: Split


def begin(settings: Settings, command: str) -> Run[Settings]:
    """Load and check the data, resolve the settings, and open the run directory.

    Args:
        settings: The settings, checked.
        command: The command as it was typed.

    Raises:
        InputError: A mistake in the settings or in the data.
    """
    d, t = settings.data, settings.training
    dataset, instead = runs.load_data(_undivided(d))
    if dataset.train.labels is not None and len(dataset.train.images) >= FEW:
        dataset, instead = runs.load_data(d)
    checks.check_labels(dataset)
    checks.check_shift(dataset, t.shift or 0)
    if d.unlabelled is not None:
        leave = runs.left_in_files(d)
        dataset = checks.with_unlabelled(dataset, d.unlabelled, d.image_size, d.grey, leave)
    if d.labels is not None:
        checks.check_budget(dataset, d.labels)
    images = dataset.pretraining_images
    checks.check_complete(dataset.name, images, dataset.valid.images, dataset.test.images)
    checks.check_varied(dataset.name, images)
    checks.check_varied(f"{dataset.name} with labels", dataset.train.images)
    resolved = settings.resolved(dataset.name, len(images))
    d = runs.in_blocks(resolved.data, min(resolved.batch_size, len(images)), images)
    resolved = replace(resolved, data=d)
    if resolved.batch_size > len(images):
        expected = f"at most {len(images)}, the training images"
        raise InputError("--batch-size", expected=expected, got=t.batch_size)
    memory.check_all(needs(resolved, dataset))
    n_labelled = d.labels or len(dataset.train.images)
    updates = resolved.epochs * (len(images) // resolved.batch_size)
    kind = "images" if dataset.columns is None else "rows"
    print(
        f"{n_labelled:,} of {len(images):,} {kind} have labels, of {dataset.train.n_classes} "
        "classes; a ladder network (--preset few-labels) learns from them all: "
        f"{updates:,} updates in {estimates.plural(resolved.epochs, 'epoch', 'epochs')}"
    )
    if n_labelled == len(images):
        print(f"no {kind} without labels (--unlabelled): the labelled ones are used without, too")
    members = [Member(f"seed_{seed}", seed) for seed in settings.seeds]
    return runs.open_run(resolved, dataset, members, command, instead_of_mnist=instead)


def needs(resolved: Settings, dataset: Dataset) -> list[memory.Need]:
    """The memory that a run takes at least, beside the data that are loaded.

    The models, trained by Adam: of each pair of widths from the images to the classes, W and V,
    twice their product, and the biases; a scale for each class; ten numbers of the combinator for
    each unit, images and classes included. See `memory.of_training`. The images: as many bytes
    again, on the device, and those that have labels for each member.

    Args:
        resolved: The settings, resolved.
        dataset: The data set.
    """
    images, train, n_members = dataset.pretraining_images, dataset.train, resolved.running.seeds
    widths = [images.shape[1], *resolved.network.hidden, train.n_classes]
    pairs = sum(2 * below * above + above for below, above in pairwise(widths))
    n_parameters = pairs + widths[-1] + 10 * sum(widths)
    width = 8 if resolved.running.precision == "float64" else 4
    n_labelled = resolved.data.labels or len(train.images)
    labelled = n_labelled * images.shape[1] * images.itemsize * n_members
    unlabelled = memory.of_images(images.shape, images.itemsize, resolved.data.block_size)
    fewer = "lower --hidden" + (", or train fewer seeds at a time" if n_members > 1 else "")
    return [
        memory.Need("models", memory.of_training(n_parameters, "adam", n_members, width), fewer),
        memory.Need("images", unlabelled + labelled, "give fewer or smaller ones"),
    ]


def _undivided(data: Data) -> Data:
    """The settings for loading all labelled images to learn from, if none have to be held out."""
    if data.valid_fraction is not None or data.data is None or has_fixed_split(data.data):
        return data
    return replace(data, valid_fraction=0.0)


def train(run: Run[Settings]) -> Trained | None:
    """Train the network of every seed; None after Ctrl-C.

    The weights after the last epoch, when the rate has fallen to 0, are kept: a choice of the epoch
    by a few validation images would be worse. Unless the settings say how far images are shifted,
    it is tried; see `shifts.compare`. If no images are held out, the error is estimated by
    cross-validation.
    """
    s, dataset = run.settings, run.dataset
    shift, trials = s.training.shift, []
    if shift is None:
        shift, trials = _choose_shift(run)
    crossed = None
    if not any(len(part.images) for part in (dataset.valid, dataset.test)):
        crossed = _cross_validate(run, shift)
        if crossed is None:
            return None
    models = fit(run, shift, run.place(STAGE, run.folder / STAGE))
    about = {"shift": shift, "trials": trials, "cross_validation": crossed}
    return None if models is None else Trained(models, about)


def fit(run: Run[Settings], shift: int, place: Place) -> list[Classifier] | None:
    """Train the network of every seed on images shifted so far; None after Ctrl-C.

    Args:
        run: The run.
        shift: The largest distance, in pixels.
        place: Where the files go.
    """
    s, dataset = run.settings, run.dataset
    each = [_One(seed, shift, labelled(dataset, s, i)) for i, seed in enumerate(s.seeds)]
    return _fit(run, each, s.epochs, place, dataset.valid)


def _choose_shift(run: Run[Settings]) -> tuple[int, list[dict[str, int]]]:
    """The distance with the fewest errors, the first of equals, and all trials."""
    shape = run.dataset.image_shape
    distances = shifts.candidates(shape)
    if len(distances) == 1:
        return distances[0], []
    assert shape is not None
    own = labelled(run.dataset, run.settings, 0)
    trials = shifts.compare(own, run.dataset.valid, shape, distances)
    if not trials:
        return 0, []
    best = min(trials, key=lambda trial: trial.wrong).shift
    errors = ", ".join(trial.in_words() for trial in trials)
    pixels = estimates.plural(best, "pixel", "pixels")
    distance = f"shifted by up to {pixels}" if best else "not shifted"
    print(
        f"images are {distance}: the error of an SVM and a nearest neighbour that learn from the "
        f"labelled ones {errors}"
    )
    return best, [trial._asdict() for trial in trials]


def _cross_validate(run: Run[Settings], shift: int) -> dict[str, int] | None:
    """Count the errors of networks on labelled images that they did not learn from; None: Ctrl-C.

    Each of `N_FOLDS` networks of the first seed, all trained in one program, is tested on its share
    of the labelled images. They train for a third of the epochs.
    """
    s = run.settings
    file, epochs = run.folder / FOLDS / "errors.json", max(1, round(s.epochs / 3))
    place = run.place("cross-validation", run.folder / FOLDS)
    if run.finished(file) and run.has_metrics(place, epochs):
        return records.load(file, dict[str, int], "remove it, and resume")
    pairs = _folds(labelled(run.dataset, s, 0))
    each = [_One(s.seeds[0], shift, part) for part, _ in pairs]
    models = _fit(run, each, epochs, place)
    if models is None:
        return None
    wrong = n = 0
    for model, (_, (images, labels)) in zip(models, pairs, strict=True):
        scores = evaluation.apply(saved.logits("relu"), model, images, run.pixel_scale)
        wrong, n = wrong + int(np.sum(scores.argmax(axis=1) != labels)), n + len(images)
    error = estimates.in_words(wrong, n)
    print(f"cross-validation, {N_FOLDS} networks, a third of the epochs: error {error}")
    result = {"wrong": wrong, "n": n, "networks": N_FOLDS}
    write_whole(file, json.dumps(result, indent=2) + "\n")
    return result


def _folds(own: Split) -> list[tuple[Split, Split]]:
    """Labelled images to learn from and to test on, for each fold; the classes are balanced."""
    images, labels = own
    assert labels is not None
    turn = np.empty(len(labels), int)  # the classes in turn, dealt out like cards
    turn[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    pairs = []
    for k in range(N_FOLDS):
        out = turn % N_FOLDS == k
        pairs.append((Split(images[~out], labels[~out]), Split(images[out], labels[out])))
    fewest = min(len(part.images) for part, _ in pairs)  # all members need as many
    return [(Split(a[:fewest], b[:fewest]), test) for (a, b), test in pairs]


def _fit(
    run: Run[Settings],
    each: Sequence[_One],
    epochs: int,
    place: Place,
    valid: Split | None = None,
) -> list[Classifier] | None:
    """Train one network for each member, all in one program; None after Ctrl-C.

    The metrics have the errors on the images of `valid`, if there are any with labels.
    """
    s, dataset, t = run.settings, run.dataset, run.settings.training
    images, n_classes = dataset.pretraining_images, dataset.train.n_classes
    updates, seeds = len(images) // s.batch_size, [one.seed for one in each]
    by = inputs(images, run.pixel_scale, table=dataset.columns is not None)
    watch = None
    if valid is not None and valid.labels is not None and len(valid.images):
        watch = _Errors(valid, images[:MOST], by)
    optimizer = adam(t.learning_rate, epochs, updates)
    widths = [images.shape[1], *s.network.hidden, n_classes]
    trained = stage.train(
        Stage(
            optimizer,
            epochs,
            s.batch_size,
            shuffle=True,
            learning_rate=f"--learning-rate, which is {t.learning_rate:g}",
            place=place,
            labelled_batch_size=min(t.labelled_batch_size, len(each[0].labelled.images)),
            resources=run.resources,
        ),
        *training.sweep(
            _costs(run, [one.shift for one in each], by),
            [ladder.init(key, widths) for key in keys(seeds, stage.INIT)],
            optimizer,
        ),
        images,
        keys(seeds, 0),
        watch,
        labelled=tuple(
            np.stack(part) for part in zip(*(one.labelled for one in each), strict=True)
        ),
    )
    if trained is None:
        return None
    params = jax.device_get(trained.state.params)
    some = images[:MOST]
    models = [predictor(member(params, i), some, by) for i in range(len(each))]
    return jax.device_get(models)


def adam(learning_rate: float, epochs: int, updates: int) -> optax.GradientTransformation:
    """Adam, whose rate falls to 0 over the last third of the epochs, of so many updates each."""
    return training.optimiser(
        "adam", learning_rate, falling=(2 / 3 * epochs, epochs), updates=updates
    )


def inputs(images: AnyRows, pixel_scale: float, *, table: bool = False) -> Inputs:
    """The mean and the spread of all pixels of the first training images, `MOST` at most.

    Noise and costs of the pixels have the same meaning for all data then, as those of the layers
    above have, which are normalised.

    Args:
        images: The images, or the rows of a table.
        pixel_scale: Divisor of integers.
        table: Whether each column has units of its own, and so a mean and a spread, of all rows.
    """
    if table:
        scaling = standardisation(images, "the training rows")
        return Inputs(scaling.mean, scaling.deviation, np.asarray(pixel_scale))
    scale = pixel_scale if np.issubdtype(images.dtype, np.integer) else 1.0
    some = images[:MOST]
    mean, spread = some.mean(dtype=np.float64) / scale, some.std(dtype=np.float64) / scale
    return Inputs(np.asarray(mean), np.asarray(spread), np.asarray(pixel_scale))


def standardised(
    images: Real[AnyArray, "images pixels"], by: Inputs
) -> Float[AnyArray, "images pixels"]:
    """Images as the network sees them."""
    return (autoencoder.pixels(images, by.pixel_scale) - by.mean) / by.spread


def predictor(params: ladder.Params, images: np.ndarray, by: Inputs) -> Classifier:
    """The classifier of pixels, normalised with the statistics of the first training images.

    Args:
        params: The network.
        images: Training images, with or without labels; the first `MOST` of them are used.
        by: How they are standardised, which becomes part of the first layer.
    """
    return _predictor(params, images[:MOST], by)


@jax.jit
def _predictor(params: ladder.Params, images: Array, by: Inputs) -> Classifier:
    x = standardised(images, by)
    first, *hidden = (model := ladder.classifier(params, ladder.statistics(params, x))).hidden
    W = first.W / jnp.reshape(by.spread, (-1, 1))
    moved = jnp.sum(jnp.reshape(by.mean, (-1, 1)) * W, axis=0)
    return model._replace(hidden=(Layer(W, first.b - moved), *hidden))


class _Errors(Watch):
    """A watch that computes validation errors, for the metrics; it chooses nothing."""

    def __init__(self, valid: Split, images: np.ndarray, by: Inputs):
        self._valid, self._images, self._by = valid, images, by

    def after(self, report: Report) -> dict[str, Any]:
        """Compute the errors after an epoch."""
        images, labels = self._valid
        assert labels is not None
        errors = []
        for i in range(report.cost.size):
            model = predictor(member(report.state.params, i), self._images, self._by)
            logits, scale = saved.logits("relu"), float(self._by.pixel_scale)
            errors.append(evaluation.error_rate(logits, model, images, labels, scale))
        return {"valid_error": errors}


def labelled(dataset: Dataset, settings: Settings, i: int) -> Split:
    """The labelled images of member i, (n, pixels), and their labels."""
    images, labels = dataset.train
    assert labels is not None
    n = settings.data.labels or len(labels)
    draw = evenly(labels, n, settings.seeds[i])
    return Split(images[draw], labels[draw])


def _costs(run: Run[Settings], furthest: Sequence[int], by: Inputs) -> list[Callable[..., Any]]:
    """The cost of each member; the distances that images are shifted are numbers of the cost."""
    shape = run.dataset.image_shape if any(furthest) else None
    return [cost(run.settings.network, by, shift, shape) for shift in furthest]


def cost(
    network: Network, by: Inputs, furthest: int = 0, image_shape: Sequence[int] | None = None
) -> Callable[..., Any]:
    """The cost of a ladder network as its settings describe it, for `training.fit`.

    Args:
        network: The settings.
        by: How images are standardised; see `inputs`.
        furthest: How far images are shifted, in pixels.
        image_shape: (h, w) or (h, w, 3); None if no image is shifted.
    """
    shape = None if image_shape is None else tuple(image_shape)
    noise = np.array(network.noises())
    return training.bind(_chosen(network.weights(), shape), noise=noise, by=by, furthest=furthest)


@cache  # the same object for the same choices, since JAX compares functions by identity
def _chosen(weights: tuple[float, ...], image_shape: Sequence[int] | None) -> Callable[..., Any]:
    return partial(_prepared, cost=partial(ladder.cost, weights=weights), image_shape=image_shape)


def _prepared(
    params: ladder.Params,
    batch: tuple[Array, tuple[Array, Array]],
    key: Key[Array, ""],
    *,
    cost: Callable[..., Array],
    image_shape: Sequence[int] | None,
    by: Inputs,
    furthest: Float[AnyArray, ""],
    noise: Float[AnyArray, "layers"],
) -> Array:
    """The cost of images that are shifted, unless there is no `image_shape`, and standardised."""
    unlabelled, (images, labels) = batch
    if image_shape is not None:
        moving, moving_labelled, key = jax.random.split(key, 3)
        pixels = jnp.asarray(furthest, int)
        unlabelled = corruption.shift(moving, unlabelled, image_shape, pixels)
        images = corruption.shift(moving_labelled, images, image_shape, pixels)
    both = standardised(unlabelled, by), (standardised(images, by), labels)
    return cost(params, both, key, noise=noise, pixel_scale=by.pixel_scale)
