"""The arms of ``pretrain --compare``: classifiers that learn from the same labelled images.

Each is a small declaration in `ARMS`. `train` trains one of them once, for all seeds together, and
keeps what the comparison needs of it: the validation errors and the predictions on the test images.
"""

import io
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import evaluation, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset, Split
from dae_jax.datasets.labels import evenly
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.runs import baselines, ladder, saved, shifts, stack
from dae_jax.runs.run import Run
from dae_jax.runs.stage import INIT, DivergenceError, Place
from dae_jax.settings import ladder as ladder_settings
from dae_jax.settings.pretrain import Arm, Finetuning, Settings
from dae_jax.stacked import Classifier, Layer

__all__ = [
    "ARMS",
    "Baseline",
    "Ladder",
    "Network",
    "Task",
    "Trial",
    "layers",
    "rectifiers",
    "train",
]

Layers = Sequence[AnyParams | Layer]
LEAST_UPDATES = 200  # between two looks at the validation images: few labels are repeated
DIVERGED = -1  # in place of a class


class Network(NamedTuple):
    """A network that is fine-tuned at several learning rates."""

    title: str
    layers: Literal["pretrained", "initial", "rectifiers"]  # that it begins with; see `layers`
    freeze: bool = False
    optimizer: str | None = None  # that of the run if None, as for the dropout
    dropout: tuple[float, float] | None = None
    activation: str = "sigmoid"
    shifted: bool = False

    def how(self, settings: Settings, rate: float, shift: int) -> Finetuning:
        """The settings of one training."""
        f = settings.finetuning
        return replace(
            f,
            finetune_learning_rate=rate,
            finetune_epochs=settings.comparison.cap,
            finetune_optimizer=self.optimizer or f.finetune_optimizer,
            dropout=self.dropout or f.dropout,
            freeze=self.freeze,
            shift=shift,
        )

    def rates(self, settings: Settings) -> tuple[float, ...]:
        """The learning rates to choose from."""
        c = settings.comparison
        return c.adam_rates if self.optimizer == "adam" else c.rates


class Ladder(NamedTuple):
    """The ladder network of ``--preset few-labels``, with its defaults."""

    title: str
    shifted: bool = False


class Baseline(NamedTuple):
    """A classifier that takes seconds."""

    title: str  # in `baselines.NAMES`
    shifted: bool = False


RECTIFIERS = Network(
    "ReLU and dropout", "rectifiers", optimizer="adam", dropout=(0.2, 0.5), activation="relu"
)

ARMS: dict[Arm, Network | Ladder | Baseline] = {
    "pretrained": Network("pretrained stack", "pretrained"),
    "random": Network("stack from random weights", "initial"),
    "frozen": Network("softmax on the frozen stack", "pretrained", freeze=True),
    "rectifiers": RECTIFIERS,
    "rectifiers-shifted": RECTIFIERS._replace(title="ReLU and dropout, shifted", shifted=True),
    "ladder": Ladder("ladder network"),
    "ladder-shifted": Ladder("ladder network, shifted", shifted=True),
    "majority-class": Baseline("majority class"),
    "logistic-regression": Baseline("logistic regression"),
    "nearest-neighbours": Baseline("nearest neighbours"),
    "svm": Baseline("SVM, RBF kernel"),
    "label-spreading": Baseline("label spreading"),
}
"""The classifiers that are compared, by the names that ``--arms`` takes; figures show titles."""


class Task(NamedTuple):
    """The data and the layers that all arms share at one number of labels."""

    run: Run[Settings]
    budget: int | Literal["all"]
    layers: Mapping[str, Layers]  # see `layers`

    @property
    def folder(self) -> Path:
        """The folder of the arms' files."""
        return self.run.folder / "compare" / f"labels_{self.budget}"

    @property
    def draws(self) -> list[np.ndarray]:
        """The labelled images of each seed, as indices."""
        labels = self.run.dataset.train.labels
        assert labels is not None
        n = len(labels) if self.budget == "all" else self.budget
        return [evenly(labels, n, seed) for seed in self.run.settings.seeds]

    @property
    def validation(self) -> list[Split]:
        """All validation images; and, unless there are fewer, as many as have labels to learn."""
        images, labels = valid = self.run.dataset.valid
        assert labels is not None
        if self.budget == "all" or self.budget >= len(images):
            return [valid]
        draw = evenly(labels, self.budget, 0)
        return [valid, Split(images[draw], labels[draw])]


class Trial(NamedTuple):
    """One training of an arm, for all seeds; the first axis is that of the validation sets."""

    valid_errors: np.ndarray  # (sets, seeds), shares in [0, 1]; NaN if nothing is chosen by them
    best_epochs: np.ndarray  # (sets, seeds), counted from 1; 0 if there is none
    ended: np.ndarray  # (sets,), whether the cap did not end the training of any seed
    predicted: np.ndarray  # (sets, seeds, images), classes of the test images


def layers(run: Run[Settings], names: Sequence[Arm]) -> dict[str, Layers] | None:
    """The layers that the networks among these arms begin with, by `Network.layers`.

    Returns:
        Their leaves have the axis of members. None after Ctrl-C.
    """
    s, n_visible = run.settings, run.dataset.train.images.shape[1]
    arms = [ARMS[name] for name in names]
    needed = {arm.layers for arm in arms if isinstance(arm, Network)}
    made: dict[str, Layers] = {}
    if "pretrained" in needed:
        pretrained = stack.pretrain(run)
        if pretrained is None:
            return None
        made["pretrained"] = pretrained
    if "initial" in needed:
        made["initial"] = stack.initial_layers(s, n_visible)
    if "rectifiers" in needed:
        made["rectifiers"] = rectifiers(s.seeds, [n_visible, *s.stack.hidden])
    return made


def rectifiers(seeds: Sequence[int], widths: Sequence[int]) -> list[Layer]:
    """Layers of weights N(0, 2 / inputs) and of zero biases (He et al., ICCV 2015)."""
    draw = jax.nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    members = []
    for key in stack.keys(seeds, INIT):
        each = zip(jax.random.split(key, len(widths) - 1), pairwise(widths), strict=True)
        members.append([Layer(draw(own, shape), jnp.zeros(shape[1])) for own, shape in each])
    return [training.stack(layer) for layer in zip(*members, strict=True)]


def train(task: Task, name: Arm, rate: float | None = None) -> Trial | None:
    """Train an arm and predict the test images, or read what the run that is resumed has of it.

    A training that diverges has errors of 1.

    Args:
        task: The number of labels, and what the arms share.
        name: The name of the arm.
        rate: The learning rate of a `Network`.

    Returns:
        The results; None after Ctrl-C.

    Raises:
        InputError: The saved results cannot be read.
    """
    run, arm = task.run, ARMS[name]
    n_sets = len(task.validation) if isinstance(arm, Network) else 1
    shape = n_sets, len(run.settings.seeds), len(run.dataset.test.images)
    title, folder = f"{task.budget} labels, {name}", task.folder / name
    if rate is not None:
        title, folder = f"{title}, rate {rate:g}", folder / f"rate_{rate:g}"
    file = folder / "trial.npz"
    if run.finished(file):
        return _read(file, shape)
    place = replace(run.place(title, folder), quiet=True)
    shift = shifts.candidates(run.dataset.image_shape)[-1] if arm.shifted else 0
    try:
        trial = _train(task, arm, rate, shift, place)
    except DivergenceError:
        ones, zeros = np.ones(shape[:2]), np.zeros(shape[:2], int)
        trial = Trial(ones, zeros, np.ones(n_sets, bool), np.full(shape, DIVERGED))
    if trial is None:
        return None
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **trial._asdict())
    write_whole(file, buffer.getvalue())
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # they can take hundreds of megabytes
    if rate is not None:
        sizes = [len(valid.images) for valid in task.validation]
        print(f"{title}: {_in_words(trial, sizes)}", flush=True)
    return trial


def _train(
    task: Task, arm: Network | Ladder | Baseline, rate: float | None, shift: int, place: Place
) -> Trial | None:
    if isinstance(arm, Network):
        assert rate is not None
        return _network(task, arm, arm.how(task.run.settings, rate, shift), place)
    predicted = _ladder(task, shift, place) if isinstance(arm, Ladder) else _baseline(task, arm)
    if predicted is None:
        return None
    none = (1, len(predicted))
    return Trial(np.full(none, np.nan), np.zeros(none, int), np.ones(1, bool), predicted[None])


def _network(task: Task, arm: Network, how: Finetuning, place: Place) -> Trial | None:
    """Fine-tune, and predict with the best epoch's parameters by each of the validation sets."""
    run, below = task.run, task.layers[arm.layers]
    tuned = stack.finetune_by_each(
        task.validation,
        how,
        below,
        _labelled(task),
        stack.keys(run.settings.seeds, len(below)),
        run.pixel_scale,
        place,
        arm.activation,
    )
    if tuned is None:
        return None
    rules = [one.rule for one in tuned if one.rule is not None]
    return Trial(
        np.stack([rule.best_error for rule in rules]),
        np.stack([rule.best_epoch for rule in rules]),
        np.array([one.ended for one in tuned]),
        np.stack([_predicted(run, one.models, arm.activation) for one in tuned]),
    )


def _labelled(task: Task) -> Dataset:
    """The data set with so many labelled images: each seed's own draw, unless all are used."""
    dataset = task.run.dataset
    images, labels = dataset.train
    assert labels is not None
    if task.budget == "all":
        return dataset
    batch_size = min(task.run.settings.finetuning.finetune_batch_size, task.budget)
    times = -(-LEAST_UPDATES * batch_size // task.budget)
    repeated = np.stack([np.tile(draw, times) for draw in task.draws])
    return dataset._replace(train=Split(images[repeated], labels[repeated]))


def _ladder(task: Task, shift: int, place: Place) -> np.ndarray | None:
    """The predictions of a ladder network for each seed; None after Ctrl-C."""
    run, data = task.run, task.run.settings.data
    labels = None if task.budget == "all" else task.budget
    settings = ladder_settings.Settings(
        data=ladder_settings.Data(**vars(data), labels=labels), running=run.settings.running
    ).resolved(run.dataset.name, len(run.dataset.pretraining_images))
    own = Run(settings, run.dataset, run.folder, run.members, run.command)
    models = ladder.fit(own, shift, place)
    return None if models is None else _predicted(run, models, "relu")


def _baseline(task: Task, arm: Baseline) -> np.ndarray:
    """The predictions of a baseline that learns from each seed's labelled images."""
    run, (images, labels) = task.run, task.run.dataset.train
    assert labels is not None
    each = []
    for draw in task.draws:
        own, unlabelled = Split(images[draw], labels[draw]), run.dataset.pretraining_images
        (result,) = baselines.predict(
            own, unlabelled, run.dataset.test.images, run.pixel_scale, [arm.title]
        )
        each.append(result.predicted)
    return np.stack(each)


def _predicted(run: Run[Settings], models: Sequence[Classifier], activation: str) -> np.ndarray:
    """The classes of the test images, (seeds, images)."""
    logits, images = saved.logits(activation), run.dataset.test.images
    scores = [evaluation.apply(logits, model, images, run.pixel_scale) for model in models]
    return np.stack(scores).argmax(axis=2)


def _read(path: Path, shape: tuple[int, ...]) -> Trial:
    """The results of a finished training, whose predictions have this shape."""
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            trial = Trial(**arrays)
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}", do="remove it, and resume") from error
    got = trial.predicted.shape
    if got != shape:
        raise InputError(
            f"predictions in {path}", expected=shape, got=got, do="remove it, and resume"
        )
    return trial


def _in_words(trial: Trial, sizes: Sequence[int]) -> str:
    if (trial.predicted == DIVERGED).all():
        return "diverged"
    each = zip(trial.valid_errors.mean(axis=1), sizes, strict=True)
    errors = " and ".join(f"{error:.2%} of {n:,} images" for error, n in each)
    first, last = trial.best_epochs.min(), trial.best_epochs.max()
    return f"validation error {errors}, best epochs {first} to {last}"
