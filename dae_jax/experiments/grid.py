r"""The grid of ``reproduce variations``: the classifiers that are tried on each hard data set.

Vincent et al. (ICML 2008) compare a stack of denoising autoencoders (SdA-3) with the same stack of
ordinary ones (SAA-3), with support vector machines and deep belief nets, on the data sets of
`datasets.variations`. Everything is chosen by validation images. A `Grid` declares what is tried;
`try_all` tries it on one set, in programs that train several members at a time:

- ``svm``: an RBF kernel, :math:`C` and :math:`\gamma`.
- ``stack``: layers pretrained at every level of masking :math:`\nu`, all levels in one program, and
  fine-tuned. At level 0 it is the SAA, at the others the SdA.
- ``random``: the same network without pretraining.
- ``rectifiers``: today's opponent: ReLU, the weights of He et al. (ICCV 2015), Adam and dropout; as
  many trials as the SdA has.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from dae_jax import console, evaluation, records, stacked, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset
from dae_jax.early_stopping import Best
from dae_jax.errors import InputError
from dae_jax.files import write_whole
from dae_jax.runs import saved, stack, stage
from dae_jax.runs.arms import rectifiers
from dae_jax.runs.stage import DivergenceError, Place, Stage
from dae_jax.settings.pretrain import Layer

__all__ = ["ARMS", "Grid", "Trial", "best", "predictions", "try_all"]

PyTree = Any
SCALE = 255.0


@dataclass(frozen=True)
class Grid:
    """The settings that are tried on each set."""

    levels: tuple[float, ...] = (0.0, 0.1, 0.25, 0.4)
    """Shares of the inputs of every layer that are masked, exactly so many (`mask_count`)."""
    widths: tuple[int, ...] = (500, 1000)
    """Units of each layer; the same in all layers."""
    depths: tuple[int, ...] = (3,)
    """Numbers of layers."""
    pretrain_epochs: tuple[int, ...] = (10, 30)
    """Passes for each layer, at a rate of .1, in batches of 20."""
    rates: tuple[float, ...] = (0.3, 1.0, 3.0)
    """Learning rates of fine-tuning, in batches of 20."""
    adam_rates: tuple[float, ...] = (0.0001, 0.0003, 0.001)
    """Those of the rectifiers, in batches of 100."""
    dropouts: tuple[tuple[float, float], ...] = tuple(product((0.0, 0.2), (0.0, 0.25, 0.5)))
    """Probabilities of dropping an input and a hidden unit of the rectifiers."""
    epochs: int = 100
    """The most passes of fine-tuning; patience usually ends it before."""
    penalties: tuple[float, ...] = (1.0, 10.0, 100.0)
    """The C of support vector machines."""
    gammas: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    seed: int = 1

    def check(self) -> None:
        """Check the levels, and that nothing is empty.

        Raises:
            InputError: There is no level of 0 or none above it, one is out of its range, or
                something else is empty or out of its range.
        """
        levels = " ".join(f"{level:g}" for level in self.levels) or "none"
        if 0 not in self.levels or not any(self.levels) or len(set(self.levels)) < len(self.levels):
            expected = "0, for the stack without noise, and at least one other level"
            raise InputError("--levels", expected=expected, got=levels, do="try 0 0.1 0.25 0.4")
        if not all(0 <= level <= 1 for level in self.levels):
            raise InputError("--levels", expected="levels in [0, 1]", got=levels)
        if not self.widths or min(self.widths) < 1:
            got = " ".join(map(str, self.widths)) or "none"
            raise InputError("--widths", expected="at least one number above 0", got=got)


@dataclass(frozen=True)
class Trial:
    """One member of the grid, as validation images judge it."""

    arm: str
    choices: dict[str, float]
    """The values of its settings, by their names."""
    valid_error: float  # a share in [0, 1]
    best_epoch: int  # 0 if there are none
    program: str  # the folder of the best of the program's members
    member: int


class Member(NamedTuple):
    """A network before its training with labels."""

    choices: dict[str, float]
    model: stacked.Classifier
    dropout: tuple[float, float] | None = None


@dataclass(frozen=True)
class Task:
    """A data set, the grid, and the folder of the trials."""

    dataset: Dataset
    grid: Grid
    folder: Path
    command: str = ""

    def place(self, title: str) -> Place:
        """The place of one training; an interrupted one goes on where it was."""
        folder = self.folder / title.replace(", ", "/").replace(" ", "_")
        return Place(f"{self.dataset.name}, {title}", folder, True, self.command, quiet=True)


def best(trials: Sequence[Trial]) -> Trial:
    """The trial of the lowest validation error, the first of equals."""
    return min(trials, key=lambda trial: trial.valid_error)


DEPTH = 3
"""The layers of the networks in the table."""
ARMS: dict[str, Callable[[Trial], bool]] = {
    "svm": lambda trial: trial.arm == "svm",
    "SAA-3": lambda trial: _of_stack(trial) and not trial.choices["level"],
    "SdA-3": lambda trial: _of_stack(trial) and trial.choices["level"] > 0,
    "random": lambda trial: trial.arm == "random" and trial.choices["depth"] == DEPTH,
    "rectifiers": lambda trial: trial.arm == "rectifiers",
}
"""The classifiers of the table: which trials each is chosen from."""


def _of_stack(trial: Trial) -> bool:
    return trial.arm == "stack" and trial.choices["depth"] == DEPTH


def try_all(task: Task) -> list[Trial] | None:
    """Try the whole grid on one set; trials that are finished are read; None after Ctrl-C."""
    trials = []
    for program in (_svms, _stacks, _rectifiers):
        for some in program(task):
            if some is None:
                return None
            trials += some
    return trials


def _svms(task: Task) -> Iterator[list[Trial]]:
    """Support vector machines, on as many processors as there are."""
    pairs = list(product(task.grid.penalties, task.grid.gammas))
    file = task.folder / "svm" / "trials.json"
    if (done := _read(file)) is None:
        train, valid = task.dataset.train, task.dataset.valid

        def error(pair: tuple[float, float]) -> float:
            return float(np.mean(_svm(task, *pair).predict(_unit(valid.images)) != valid.labels))

        with ThreadPoolExecutor(console.cores()) as pool:
            errors = list(pool.map(error, pairs))
        assert train.labels is not None
        each = enumerate(zip(pairs, errors, strict=True))
        done = [Trial("svm", {"C": C, "gamma": g}, e, 0, "svm", i) for i, ((C, g), e) in each]
        _write(file, done)
        _show(task, done)
    yield done


def _svm(task: Task, C: float, gamma: float) -> Any:
    from sklearn.svm import SVC

    images, labels = task.dataset.train
    machine = SVC(C=C, gamma=gamma, cache_size=1000)  # type: ignore[arg-type]
    return machine.fit(_unit(images), labels)


def _unit(images: Any) -> np.ndarray:
    return np.asarray(images, np.float32) / np.float32(SCALE)


def _stacks(task: Task) -> Iterator[list[Trial] | None]:
    """Stacks of all widths, lengths of pretraining, depths and rates; all levels in a program."""
    grid = task.grid
    for width, epochs in product(grid.widths, (0, *grid.pretrain_epochs)):
        levels = grid.levels if epochs else (0.0,)
        layers = _pretrained(task, width, epochs, levels)
        if layers is None:
            yield None
            return
        for depth, rate in product(grid.depths, grid.rates):
            how = {"depth": depth, "width": width, "rate": rate}
            how |= {"epochs": epochs} if epochs else {}
            members = [
                Member(
                    how | ({"level": level} if epochs else {}),
                    _classifier(task, [training.member(layer, i) for layer in layers[:depth]]),
                )
                for i, level in enumerate(levels)
            ]
            arm = "stack" if epochs else "random"
            title = f"{arm}, width {width}, {epochs} epochs, depth {depth}, rate {rate:g}"
            yield _tuned(task, arm, title, members, ("sgd", rate, 20))


def _pretrained(
    task: Task, width: int, epochs: int, levels: Sequence[float]
) -> list[AnyParams] | None:
    """The layers of all levels, from the same first weights; leaves have an axis of levels."""
    seed, images = task.grid.seed, task.dataset.train.images
    first = stacked.init_tutorial(seed, images.shape[1], [width] * max(task.grid.depths))
    layers: list[AnyParams] = [training.stack([params for _ in levels]) for params in first]
    data: Any = images
    for k, start in enumerate(layers if epochs else []):
        place = task.place(f"stack, width {width}, {epochs} epochs, layer {k + 1}")
        assert place.folder is not None
        file = place.folder / PARAMS
        if not file.exists():
            how = Layer(0.0, "masking-count", "cross-entropy", "sigmoid", epochs, 0.1, 20, False)
            optimizer = training.optimiser("sgd", how.pretrain_learning_rate)
            trained = stage.train(
                Stage(optimizer, epochs, 20, own_data=data.ndim == 3, place=place),
                *training.sweep(
                    [stage.denoising_cost(replace(how, corruption=v), SCALE) for v in levels],
                    [first[k] for _ in levels],
                    optimizer,
                ),
                data,
                stack.keys([seed] * len(levels), k),
            )
            if trained is None:
                return None
            _save(file, trained.state.params)
            shutil.rmtree(place.folder / "checkpoints", ignore_errors=True)
        layers[k] = _load(file, start)
        if k + 1 < len(layers):
            data = stack.codes(layers[k], data, SCALE)
    return layers


def _rectifiers(task: Task) -> Iterator[list[Trial] | None]:
    """Rectifiers of all widths and rates; all pairs of dropout in a program."""
    grid, n = task.grid, task.dataset.train.images.shape[1]
    for width, rate in product(grid.widths, grid.adam_rates):
        layers = [training.member(one, 0) for one in rectifiers([grid.seed], [n] + DEPTH * [width])]
        how = {"depth": DEPTH, "width": width, "rate": rate}
        members = [
            Member(
                how | {"input dropout": pair[0], "dropout": pair[1]},
                _classifier(task, layers),
                pair,
            )
            for pair in grid.dropouts
        ]
        title = f"rectifiers, width {width}, rate {rate:g}"
        yield _tuned(task, "rectifiers", title, members, ("adam", rate, 100))


def _classifier(task: Task, layers: Sequence[Any]) -> stacked.Classifier:
    train = task.dataset.train
    return stacked.classifier(layers, train.images.shape[1], train.n_classes)


def _tuned(
    task: Task, arm: str, title: str, members: Sequence[Member], how: tuple[str, float, int]
) -> list[Trial] | None:
    """Train a program of networks with labels; keep each at its best epoch; None after Ctrl-C."""
    place, (rule, rate, batch_size) = task.place(title), how
    assert place.folder is not None
    program = str(place.folder.relative_to(task.folder))
    if (done := _read(place.folder / TRIALS)) is not None:
        return done
    activation = ACTIVATIONS[arm]
    (images, labels), valid = task.dataset.train, task.dataset.valid
    assert labels is not None and valid.labels is not None
    logits, models = saved.logits(activation), [member.model for member in members]
    first, valid_labels = training.stack(models), valid.labels
    batch_size = min(batch_size, len(images))

    def error(i: int, params: PyTree) -> float:
        return evaluation.error_rate(logits, params, valid.images, valid_labels, SCALE)

    watch = Best(first, error, len(images) // batch_size)
    optimizer = training.optimiser(rule, rate)
    costs = [
        training.bind(COSTS[activation], pixel_scale=SCALE, dropout=member.dropout)
        for member in members
    ]
    try:
        trained = stage.train(
            Stage(optimizer, task.grid.epochs, batch_size, True, place=place),
            *training.sweep(costs, models, optimizer),
            (images, labels),
            stack.keys([task.grid.seed] * len(members), 2**31),
            watch,
        )
    except DivergenceError as error_:
        print(error_)
        errors, epochs = np.ones(len(members)), np.zeros(len(members), int)
    else:
        if trained is None:
            return None
        errors, epochs = watch.rule.best_error, watch.rule.best_epoch
        _save(place.folder / PARAMS, watch.params)
    shutil.rmtree(place.folder / "checkpoints", ignore_errors=True)
    done = [
        Trial(arm, member.choices, float(errors[i]), int(epochs[i]), program, i)
        for i, member in enumerate(members)
    ]
    _write(place.folder / TRIALS, done)
    _show(task, done)
    return done


def predictions(task: Task, trial: Trial) -> np.ndarray:
    """The classes of the test images, (n,), as the best epoch of a trial predicts them."""
    images, grid = task.dataset.test.images, task.grid
    if trial.arm == "svm":
        machine = _svm(task, *trial.choices.values())
        with ThreadPoolExecutor(console.cores()) as pool:
            parts = np.array_split(_unit(images), 2 * console.cores())
            return np.concatenate(list(pool.map(machine.predict, parts)))
    width, depth = int(trial.choices["width"]), int(trial.choices["depth"])
    layers = rectifiers([grid.seed], [images.shape[1]] + depth * [width])
    like = _classifier(task, [training.member(layer, 0) for layer in layers])
    file = task.folder / trial.program / PARAMS
    n_members = len(_read(file.parent / TRIALS) or ())
    model = training.member(_load(file, training.stack([like] * n_members)), trial.member)
    scores = evaluation.apply(saved.logits(ACTIVATIONS[trial.arm]), model, images, SCALE)
    return scores.argmax(axis=1)


ACTIVATIONS = {"stack": "sigmoid", "random": "sigmoid", "rectifiers": "relu"}
COSTS: dict[str, Callable[..., Any]] = {
    "sigmoid": stacked.cost,
    "relu": partial(stacked.cost, activation=jax.nn.relu),
}
PARAMS, TRIALS = "params.safetensors", "trials.json"


def _save(file: Path, params: PyTree) -> None:
    """Write the leaves of a pytree, numbered."""
    from safetensors.numpy import save

    leaves = jax.tree.leaves(jax.device_get(params))
    write_whole(file, save({str(i): np.ascontiguousarray(x) for i, x in enumerate(leaves)}))


def _load(file: Path, like: PyTree) -> PyTree:
    """The pytree that `_save` wrote.

    Raises:
        InputError: It cannot be read, or has leaves of other shapes.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    leaves, structure = jax.tree.flatten(like)
    do = "remove it, and run the command again"
    try:
        arrays = load_file(file)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read {file}: {error}", do=do) from error
    shapes = {str(i): np.shape(leaf) for i, leaf in enumerate(leaves)}
    if (got := {name: array.shape for name, array in arrays.items()}) != shapes:
        raise InputError(file, expected=f"arrays of shapes {shapes}", got=got, do=do)
    return structure.unflatten([arrays[name] for name in shapes])


def _write(file: Path, trials: Sequence[Trial]) -> None:
    write_whole(file, json.dumps([asdict(trial) for trial in trials], indent=1) + "\n")


def _read(file: Path) -> list[Trial] | None:
    """The trials of a finished program; None if it is not."""
    if not file.exists():
        return None
    return records.load(file, list[Trial], "remove it, and run the command again")


def _show(task: Task, trials: Sequence[Trial]) -> None:
    one = best(trials)
    choices = ", ".join(f"{name} {value:g}" for name, value in one.choices.items())
    print(
        f"{task.dataset.name}, {one.arm}, {len(trials)} trials: validation error "
        f"{one.valid_error:.2%} ({choices})",
        flush=True,
    )
