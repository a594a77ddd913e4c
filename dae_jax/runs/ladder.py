"""The run of ``python -m dae_jax.pretrain --preset few-labels``: a ladder network.

Everything has a leading axis of members, one per seed, even if there is only one. Each member draws
its own labelled images.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from dae_jax import autoencoder, corruption, evaluation, ladder, training
from dae_jax.datasets import Dataset, Split, checks
from dae_jax.datasets.labels import evenly
from dae_jax.datasets.loading import has_fixed_split
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.objectives import AnyArray
from dae_jax.runs import run as runs
from dae_jax.runs import saved, stage
from dae_jax.runs.run import Member, Run
from dae_jax.runs.stack import INIT, keys
from dae_jax.runs.stage import Place, Stage
from dae_jax.settings.ladder import Data, Settings
from dae_jax.stacked import Classifier
from dae_jax.training import Report, Watch, member

__all__ = [
    "STAGE",
    "Trained",
    "Trial",
    "begin",
    "compare_shifts",
    "labelled",
    "predictor",
    "shifts",
    "train",
]

STAGE, TRIALS = "ladder", "trials"
"""The stage whose network is kept, and the one that compares shifts: the names of their folders."""
MOST = 10_000
"""Images whose statistics prediction normalises with."""
FURTHEST = 2  # pixels
FOLDS = 3
ENOUGH = 100  # validation images, instead of cross-validation
FEW = 1_000  # labelled images, of which none are held out


class Trial(NamedTuple):
    """The errors of networks whose images are shifted so far."""

    shift: int
    wrong: int
    n: int
    networks: int

    def in_words(self) -> str:
        """The error rate and its interval."""
        low, high = evaluation.error_interval(self.wrong, self.n)
        return (
            f"images shifted by up to {self.shift} pixels: error {self.wrong / self.n:.2%} of "
            f"{self.n:,} images, 95 % interval {low:.2%} to {high:.2%}"
        )


class Trained(NamedTuple):
    """Each member's classifier, and the trials that chose how far images are shifted."""

    models: list[Classifier]
    trials: list[Trial]


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
        dataset = checks.with_unlabelled(dataset, d.unlabelled, d.image_size, d.grey)
    if d.labels is not None:
        checks.check_budget(dataset, d.labels)
    images = dataset.pretraining_images
    checks.check_spread(dataset.name, images, d.pixel_scale, settings.network.noise)
    resolved = settings.resolved(dataset.name, len(images))
    if resolved.batch_size > len(images):
        expected = f"at most {len(images)}, the training images"
        raise InputError("--batch-size", expected=expected, got=t.batch_size)
    n_labelled = d.labels or len(dataset.train.images)
    updates = resolved.epochs * (len(images) // resolved.batch_size)
    print(
        f"a ladder network (--preset few-labels): {n_labelled:,} of {len(images):,} images have "
        f"labels, of {dataset.train.n_classes} classes; {resolved.epochs} epochs, "
        f"{updates:,} updates"
    )
    if n_labelled == len(images):
        print("no images without labels (--unlabelled): the labelled ones are used without, too")
    members = [Member(f"seed_{seed}", seed) for seed in settings.seeds]
    return runs.open_run(resolved, dataset, members, command, instead_of_mnist=instead)


def _undivided(data: Data) -> Data:
    """The settings for loading all labelled images to learn from, if none have to be held out."""
    if data.valid_fraction is not None or data.data is None or has_fixed_split(data.data):
        return data
    return replace(data, valid_fraction=0.0)


def train(run: Run[Settings]) -> Trained | None:
    """Train the network of every seed; None after Ctrl-C.

    The weights after the last epoch, when the rate has fallen to 0, are kept: a choice of the epoch
    by a few validation images would be worse. Unless the settings say how far images are shifted,
    or if there are no images to validate or to test with, networks are first compared on images
    that they did not learn from; see `compare_shifts`.
    """
    s, dataset = run.settings, run.dataset
    held_out = any(len(part.images) for part in (dataset.valid, dataset.test))
    shift, trials = s.training.shift, []
    if shift is None or not held_out:
        compared = compare_shifts(run, shifts(dataset) if shift is None else [shift])
        if compared is None:
            return None
        trials = compared
        shift = min(trials, key=lambda trial: trial.wrong).shift
    each = [_One(seed, shift, labelled(dataset, s, i)) for i, seed in enumerate(s.seeds)]
    valid, watch = dataset.valid, None
    if len(valid.images) and valid.labels is not None:
        watch = _Errors(valid, dataset.pretraining_images, run.pixel_scale)
    models = _fit(run, each, s.epochs, run.place(STAGE, run.folder / STAGE), watch)
    return None if models is None else Trained(models, trials)


def shifts(dataset: Dataset) -> list[int]:
    """The distances, in pixels, to choose from: 0, and 2 if the images are large enough for it."""
    shape = dataset.image_shape
    return [0, FURTHEST] if shape is not None and min(shape[:2]) >= 4 * FURTHEST else [0]


def compare_shifts(run: Run[Settings], furthest: Sequence[int]) -> list[Trial] | None:
    """Count the errors of networks whose images are shifted so far, after a third of the epochs.

    They are counted on the validation images if there are at least `ENOUGH` of them. Otherwise, by
    cross-validation: each of `FOLDS` networks is tested on the labelled images that it did not
    learn from. All networks train in one program, from the first seed.

    Returns:
        One trial for each distance; None after Ctrl-C.
    """
    s, valid = run.settings, run.dataset.valid
    file = run.folder / TRIALS / "trials.json"
    if run.finished(file):
        return [Trial(**row) for row in json.loads(file.read_text())]
    own = labelled(run.dataset, s, 0)
    assert own.labels is not None
    pairs = [(own, valid)] if _enough(valid) else _folds(own)
    each = [_One(s.seeds[0], shift, part) for shift in furthest for part, _ in pairs]
    place = run.place("choice of shifts", run.folder / TRIALS)
    models = _fit(run, each, max(1, round(s.epochs / 3)), place)
    if models is None:
        return None
    trials = []
    for i, shift in enumerate(furthest):
        wrong = n = 0
        for model, (_, (images, labels)) in zip(models[i * len(pairs) :], pairs, strict=False):
            scores = evaluation.apply(saved.logits("relu"), model, images, run.pixel_scale)
            wrong, n = wrong + int(np.sum(scores.argmax(axis=1) != labels)), n + len(images)
        trials.append(Trial(shift, wrong, n, len(pairs)))
        print(trials[-1].in_words())
    write_whole(file, json.dumps([trial._asdict() for trial in trials], indent=2) + "\n")
    return trials


def _enough(valid: Split) -> bool:
    return valid.labels is not None and len(valid.images) >= ENOUGH


def _folds(own: Split) -> list[tuple[Split, Split]]:
    """Labelled images to learn from and to test on, for each fold; the classes are balanced."""
    images, labels = own
    assert labels is not None
    turn = np.empty(len(labels), int)  # the classes in turn, dealt out like cards
    turn[np.argsort(labels, kind="stable")] = np.arange(len(labels))
    pairs = []
    for k in range(FOLDS):
        out = turn % FOLDS == k
        pairs.append((Split(images[~out], labels[~out]), Split(images[out], labels[out])))
    fewest = min(len(part.images) for part, _ in pairs)  # all members need as many
    return [(Split(a[:fewest], b[:fewest]), test) for (a, b), test in pairs]


def _fit(
    run: Run[Settings],
    each: Sequence[_One],
    epochs: int,
    place: Place,
    watch: Watch | None = None,
) -> list[Classifier] | None:
    """Train one network for each member, all in one program; None after Ctrl-C."""
    s, dataset, t = run.settings, run.dataset, run.settings.training
    images, n_classes = dataset.pretraining_images, dataset.train.n_classes
    updates, seeds = len(images) // s.batch_size, [one.seed for one in each]
    optimizer = training.optimiser(
        "adam", t.learning_rate, falling=(2 / 3 * epochs, epochs), updates=updates
    )
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
        ),
        *training.sweep(
            _costs(run, [one.shift for one in each]),
            [ladder.init(key, widths) for key in keys(seeds, INIT)],
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
    models = [predictor(member(params, i), images, run.pixel_scale) for i in range(len(each))]
    return jax.device_get(models)


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


def _costs(run: Run[Settings], furthest: Sequence[int]) -> list[Callable[..., Any]]:
    """The cost of each member; the distances that images are shifted are numbers of the cost."""
    network = run.settings.network
    weights = network.weights()
    cost: Callable[..., Any] = partial(ladder.cost, weights=weights)
    numbers = {"noise": np.full(len(weights), network.noise), "pixel_scale": run.pixel_scale}
    if not any(furthest):
        return [training.bind(cost, **numbers)] * len(furthest)
    assert run.dataset.image_shape is not None
    cost = partial(_shifted, cost=cost, image_shape=run.dataset.image_shape)
    return [training.bind(cost, furthest=shift, **numbers) for shift in furthest]


def _shifted(
    params: ladder.Params,
    batch: tuple[Array, tuple[Array, Array]],
    key: Key[Array, ""],
    *,
    cost: Callable[..., Array],
    image_shape: Sequence[int],
    furthest: Float[AnyArray, ""],
    **numbers: Any,
) -> Array:
    """The cost of images that are shifted first, with and without labels; see `corruption.shift`.

    Its six parameters are a cost's three, two that select code, and a number.
    """
    pixels = jnp.asarray(furthest, int)
    moving, moving_labelled, rest = jax.random.split(key, 3)
    unlabelled, (images, labels) = batch
    shifted = corruption.shift(moving, unlabelled, image_shape, pixels)
    with_labels = corruption.shift(moving_labelled, images, image_shape, pixels), labels
    return cost(params, (shifted, with_labels), rest, **numbers)
