"""The run of ``python -m dae_jax.pretrain``: layer by layer without labels, then with labels.

Everything has a leading axis of members, one per seed, even if there is only one. Each finished
layer is a file; a resumed run reads it and continues at the first one that is missing.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from dae_jax import corruption, evaluation, memory, stacked, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset, Split, checks
from dae_jax.early_stopping import Best, Patience, Several
from dae_jax.errors import InputError
from dae_jax.rows import AnyRows, Computed, Rows, in_memory
from dae_jax.runs import cards, from_run, saved, shifts, stage
from dae_jax.runs import run as runs
from dae_jax.runs.run import Member, Run
from dae_jax.runs.stage import Place, Resources, Stage
from dae_jax.settings.pretrain import PRESETS, Finetuning, Layer, Settings, default_epochs
from dae_jax.stacked import Classifier

__all__ = [
    "Tuned",
    "begin",
    "codes",
    "finetune",
    "finetune_by_each",
    "initial_layers",
    "keys",
    "needs",
    "pretrain",
    "stage_names",
    "train_layer",
]


class Tuned(NamedTuple):
    """Each member's fine-tuned classifier, and the early stopping that chose its epoch."""

    models: list[Classifier]
    rule: Patience | None  # None if no images were held out: then the last epoch's are kept
    ended: bool = False  # whether patience ended the training of every member


def begin(settings: Settings, command: str) -> Run[Settings]:
    """Load and check the data, resolve the settings, and open the run directory.

    Args:
        settings: The settings, checked.
        command: The command as it was typed.
    """
    pretrained = None
    if settings.pretraining.from_run is not None:
        pretrained = from_run.read(settings)
        settings = replace(settings, data=from_run.sized(settings.data, pretrained))
    d = settings.data
    dataset, instead = runs.load_data(d)
    checks.check_labels(dataset)
    settings = _in_batches_of_at_most(settings, len(dataset.train.images))
    f = settings.finetuning
    checks.check_shift(dataset, f.shift)
    if settings.comparison.compare:
        checks.check_comparison(dataset, settings.comparison.labels, settings.running.seeds)
        _check_arms(settings, dataset)
    training.optimiser(f.finetune_optimizer, f.rate)  # checks its name
    if d.unlabelled is not None:
        leave = runs.left_in_files(d)
        dataset = checks.with_unlabelled(dataset, d.unlabelled, d.image_size, d.grey, leave)
    if settings.comparison.compare:
        dataset = dataset.in_memory()
    else:
        # of fine-tuning at most the images that have labels, as a too large batch is refused
        labelled = min(f.finetune_batch_size, len(dataset.train.images))
        larger = max(settings.pretraining.batch_size, labelled)
        d = runs.in_blocks(d, larger, dataset.pretraining_images)
        settings = replace(settings, data=d)
    held_out = dataset.valid.images, dataset.test.images
    checks.check_complete(dataset.name, dataset.pretraining_images, *held_out)
    if pretrained is None:
        _check_pretraining(settings, dataset)
    else:
        from_run.check_images(dataset, pretrained, settings)
    _check_batch_size("--finetune-batch-size", f.finetune_batch_size, dataset.train.images)
    resolved = settings.resolved(dataset.name, len(dataset.pretraining_images))
    memory.check_all(needs(resolved, dataset))
    members = [Member(f"seed_{seed}", seed) for seed in settings.seeds]
    run = runs.open_run(resolved, dataset, members, command, instead_of_mnist=instead)
    if pretrained is not None:
        from_run.write(run.folder, pretrained)
    return run


def needs(resolved: Settings, dataset: Dataset) -> list[memory.Need]:
    """The memory that a run takes at least, beside the data that are loaded.

    It is that of its largest stage. Pretraining a layer takes its parameters, inputs times units +
    units + inputs, and above the first layer twice the codes that it learns from, images times
    inputs of each member, which are on the host and on the device. Fine-tuning takes the parameters
    of the classifier, inputs times units + units of each layer and of the softmax; or with
    ``freeze`` those of the softmax, and the last layer's codes, twice. For parameters, see
    `memory.of_training`. The images take as many bytes again, on the device.

    Args:
        resolved: The settings, resolved.
        dataset: The data set.
    """
    p, f = resolved.pretraining, resolved.finetuning
    n_members = resolved.running.seeds
    width = 8 if resolved.running.precision == "float64" else 4
    images, train, block = dataset.pretraining_images, dataset.train, resolved.data.block_size
    pairs = list(pairwise([images.shape[1], *resolved.stack.hidden]))
    top = resolved.stack.hidden[-1], train.n_classes
    stages: list[tuple[int, int]] = []  # of each, the bytes of parameters and of codes
    for k, (n_in, n) in enumerate(pairs if p.from_run is None else []):
        size = n_in * n + n + n_in
        layer = memory.of_training(size, p.pretrain_optimizer, n_members, width)
        shape = n_members, len(images) if block is None else block, n_in
        n_codes = math.prod(shape)
        stages.append((layer, 2 * n_codes * width if k else 0))
    size = sum(n_in * n + n for n_in, n in ([top] if f.freeze else [*pairs, top]))
    frozen = 2 * len(train.images) * top[0] * n_members * width if f.freeze else 0
    tuned = memory.of_training(size, f.finetune_optimizer, n_members, width)
    models, codes = max([*stages, (tuned, frozen)], key=sum)
    fewer = "lower --hidden" + (", or train fewer seeds at a time" if n_members > 1 else "")
    return [
        memory.Need("models", models, fewer),
        memory.Need("codes", codes, f"{fewer}, or give fewer images"),
        memory.Need(
            "images",
            memory.of_images(images.shape, images.itemsize, block),
            "give fewer or smaller ones",
        ),
    ]


def _check_pretraining(settings: Settings, dataset: Dataset) -> None:
    """Check that these images can be pretrained on, and print for how many updates by default."""
    p, images = settings.pretraining, dataset.pretraining_images
    scale, linear = settings.data.pixel_scale, p.decoder[0] == "linear"
    checks.check_range(dataset.name, images, scale, p.cost[0], linear=linear)
    _check_batch_size("--batch-size", p.batch_size, images)
    if not p.pretrain_epochs and dataset.name != "mnist":
        n = len(images)
        epochs = default_epochs(dataset.name, n, p.batch_size)
        updates = epochs * (n // p.batch_size)
        print(f"{epochs} epochs per layer of {n:,} images: {updates:,} updates")


def _check_arms(settings: Settings, dataset: Dataset) -> None:
    """Check that something is left to compare if the images cannot be shifted."""
    shape = dataset.image_shape
    if not settings.comparison.possible(shifts=shifts.candidates(shape) != [0]):
        size = checks.in_words(shape, dataset.train.images.shape[1])
        raise InputError(
            "--arms",
            expected=f"one that does not shift, since images of {size} are too small",
            got=" ".join(settings.comparison.arms),
        )


def _in_batches_of_at_most(settings: Settings, n_images: int) -> Settings:
    """These settings, with a preset's batches of fine-tuning no larger than there are images."""
    size = settings.finetuning.finetune_batch_size
    own = size != PRESETS[settings.preset].finetuning.finetune_batch_size
    if own or size <= n_images:
        return settings
    print(f"fine-tuning in batches of {n_images}, all training images with labels, not {size}")
    fewer = replace(settings.finetuning, finetune_batch_size=n_images)
    return replace(settings, finetuning=fewer)


def _check_batch_size(name: str, size: int, images: AnyRows) -> None:
    if size > len(images):
        raise InputError(name, expected=f"at most {len(images)}, the training images", got=size)


def stage_names(settings: Settings) -> list[str]:
    """The names of the stages, which are also those of their folders."""
    return [f"layer_{k + 1}" for k in range(len(settings.stack.hidden))] + ["finetune"]


def keys(seeds: Sequence[int], stage: int) -> Key[Array, "members"]:
    """One key per member for all random numbers of a stage."""
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), stage) for seed in seeds])


def initial_layers(settings: Settings, n_visible: int) -> list[AnyParams]:
    """The dAs before training, from the images up; their leaves have the axis of members."""
    hidden, seeds = settings.stack.hidden, settings.seeds
    if settings.stack.init == "tutorial":
        stacks = [stacked.init_tutorial(seed, n_visible, hidden) for seed in seeds]
    else:
        stacks = [stacked.init(key, n_visible, hidden) for key in keys(seeds, stage.INIT)]
    return [training.stack(members) for members in zip(*stacks, strict=True)]


def pretrain(run: Run[Settings]) -> list[AnyParams] | None:
    """Train layer after layer, each on the clean codes of those below; None after Ctrl-C.

    With ``--from-run`` they are read, since `begin` has copied them.

    Returns:
        The layers, their leaves with the axis of members.
    """
    s, names = run.settings, stage_names(run.settings)
    if s.pretraining.from_run is not None:
        return [_read(_layer_files(run, name)) for name in names[:-1]]
    data = run.dataset.pretraining_images
    layers: list[AnyParams] = []
    for k, params in enumerate(initial_layers(s, data.shape[1])):
        if k:
            data = codes(layers[-1], data, run.pixel_scale)
        files = _layer_files(run, names[k])
        place = run.place(f"layer {k + 1}", run.folder / names[k])
        how, own_keys = s.layer(k), keys(s.seeds, k)
        if run.finished(*files) and run.has_metrics(place, how.pretrain_epochs):
            layers.append(_read(files, params))
            continue
        trained = train_layer(how, params, data, own_keys, run.pixel_scale, place, run.resources)
        if trained is None:
            return None
        layers.append(trained)
        for i, file in enumerate(files):
            seed = run.members[i].seed
            card = cards.card("autoencoder", run.dataset, s, seed, how, sha256=run.sha256)
            card = card if not k else cards.above_codes(card, trained.W.shape[1])
            saved.save(file, training.member(trained, i), card)
    return layers


def _layer_files(run: Run[Settings], name: str) -> list[Path]:
    """The file of a layer for every member."""
    return [run.member_folder(i) / f"{name}.safetensors" for i in range(len(run.members))]


def _read(files: Sequence[Path], like: AnyParams | None = None) -> AnyParams:
    """A layer of all members, from the file of each; NumPy's, as `train_layer` returns it.

    Args:
        files: The files.
        like: A layer of all members with the same sizes; None if they are known to be right.

    Raises:
        InputError: A file cannot be read, or holds a layer of other sizes.
    """
    members = [saved.load_layer(file) for file in files]
    for file, layer in zip(files, members, strict=True):
        sizes = [np.shape(part) for part in layer]
        if like is not None and sizes != [np.shape(part)[1:] for part in like]:
            n, m = np.shape(like.W)[1:]
            do = "remove it, and resume: it is trained again"
            raise InputError(
                file, expected=f"a layer of {n} inputs and {m} units", got=sizes, do=do
            )
    return jax.device_get(training.stack(members))


def train_layer(
    how: Layer,
    params: AnyParams,
    data: AnyRows,
    keys: Key[Array, "members"],
    pixel_scale: float,
    place: Place = Place(),  # noqa: B008  # frozen
    resources: Resources = Resources(),  # noqa: B008
) -> AnyParams | None:
    """Pretrain one layer of every member; None after Ctrl-C.

    Args:
        how: The settings of the layer.
        params: Its parameters before training, their leaves with the axis of members.
        data: Its inputs, (images, inputs), or (members, images, inputs).
        keys: One key per member.
        pixel_scale: Divisor of integer pixels.
        place: Where the files go; none are written by default.
        resources: How much of the machine is used.
    """
    if how.pretrain_epochs == 0:
        return jax.device_get(params)
    rate = how.pretrain_learning_rate
    optimizer = training.optimiser(how.pretrain_optimizer, rate)
    each = range(len(keys))
    trained = stage.train(
        Stage(
            optimizer,
            how.pretrain_epochs,
            how.batch_size,
            how.shuffle,
            own_data=data.ndim == 3,
            learning_rate=f"--pretrain-learning-rate, which is {rate:g}",
            place=place,
            resources=resources,
        ),
        *training.sweep(
            [stage.denoising_cost(how, pixel_scale) for _ in each],
            [training.member(params, i) for i in each],
            optimizer,
        ),
        data,
        keys,
    )
    return None if trained is None else jax.device_get(trained.state.params)


def codes(layer: AnyParams | stacked.Layer, data: AnyRows, pixel_scale: float) -> AnyRows:
    """The clean codes of one layer for every member, computed once and stored.

    Those of images that are not in memory are not, either: they are computed again for each block
    that is trained on, which takes a part of the time of training on them (one product of the six
    of a step) and no disk, where storing them would take four bytes for every unit of every image.

    Args:
        layer: A layer, its leaves with the axis of members.
        data: Its inputs, (images, inputs), or (members, images, inputs).
        pixel_scale: Divisor of integer pixels.

    Returns:
        (members, images, units), float32 unless JAX is set to double precision.
    """
    if isinstance(data, Rows):
        shape = len(layer.W), len(data), layer.W.shape[-1]
        width = np.dtype(jnp.zeros(()).dtype)
        return Computed(data, lambda x: in_memory(codes(layer, x, pixel_scale)), shape, width)
    inputs = data if data.ndim == 3 else [data] * len(layer.W)
    members = [training.member(layer, i) for i in range(len(layer.W))]
    pairs = zip(members, inputs, strict=True)
    return np.stack([evaluation.apply(_encode, params, x, pixel_scale) for params, x in pairs])


def _encode(layer: AnyParams | stacked.Layer, x: Array) -> Any:
    return stacked.encode([layer], x)


def finetune(
    how: Finetuning,
    layers: Sequence[AnyParams],
    dataset: Dataset,
    keys: Key[Array, "members"],
    pixel_scale: float,
    place: Place = Place(),  # noqa: B008  # frozen
    resources: Resources = Resources(),  # noqa: B008
) -> Tuned | None:
    """Train a classifier on top of `layers` with labels; None after Ctrl-C.

    With ``how.freeze`` the layers stay as they are, and a softmax layer is trained on their codes.

    Args:
        how: The settings of fine-tuning.
        layers: Pretrained or initial layers, their leaves with the axis of members.
        dataset: The labelled images, (images, pixels), or (members, images, pixels) if each member
            has its own; validation images choose the epoch.
        keys: One key per member.
        pixel_scale: Divisor of integer pixels.
        place: Where the files go; none are written by default.
        resources: How much of the machine is used.
    """
    valid = dataset.valid
    by = [valid] if len(valid.images) and valid.labels is not None else []
    tuned = finetune_by_each(
        by, how, layers, dataset, keys, pixel_scale, place, resources=resources
    )
    return None if tuned is None else tuned[0]


def finetune_by_each(
    validation: Sequence[Split],
    how: Finetuning,
    layers: Sequence[AnyParams | stacked.Layer],
    dataset: Dataset,
    keys: Key[Array, "members"],
    pixel_scale: float,
    place: Place = Place(),  # noqa: B008  # frozen
    activation: str = "sigmoid",
    resources: Resources = Resources(),  # noqa: B008
) -> list[Tuned] | None:
    """Train once, and choose the epoch by each of several sets of images; None after Ctrl-C.

    The training ends when the patience with all of them is used up. Its nine parameters are the
    seven of `finetune` and two that only comparisons need.

    Args:
        validation: Labelled images that choose the epoch; none to keep the last one's parameters.
        how: See `finetune`, as for the arguments that follow.
        activation: That of the layers; a name in `saved.ACTIVATIONS`.

    Returns:
        One result for each set of `validation`; a single one if there are none.
    """
    each = range(len(keys))
    members = [[training.member(layer, i) for layer in layers] for i in each]
    train, below = dataset.train, members
    validation = [part._replace(images=in_memory(part.images)) for part in validation]
    if how.freeze:
        train, *validation = (_encoded(layers, part, pixel_scale) for part in (train, *validation))
        below = [[] for _ in each]
    inputs, n_classes = train.images.shape[-1], dataset.train.n_classes
    models = [stacked.classifier(own, inputs, n_classes) for own in below]

    own_data = train.images.ndim == 3
    n = train.images.shape[1 if own_data else 0]
    batch_size = min(how.finetune_batch_size, n)
    optimizer = training.optimiser(
        how.finetune_optimizer,
        how.rate,
        decay=how.learning_rate_decay,
        updates=n // batch_size,
        weight_decay=how.weight_decay,
    )
    cost = _finetuning_cost(how, dataset.image_shape, pixel_scale, activation)
    logits, first = saved.logits(activation), training.stack(models)
    watches = [
        Best(first, _errors(logits, valid, pixel_scale), n // batch_size) for valid in validation
    ]
    trained = stage.train(
        Stage(
            optimizer,
            how.finetune_epochs,
            batch_size,
            how.finetune_shuffle,
            own_data,
            f"--finetune-learning-rate, which is {how.rate:g}",
            place,
            resources=resources,
        ),
        *training.sweep([cost for _ in each], models, optimizer),
        (train.images, train.labels),
        keys,
        Several(watches) if len(watches) > 1 else next(iter(watches), None),
    )
    if trained is None:
        return None

    def whole(params: Classifier) -> list[Classifier]:
        models = [training.member(params, i) for i in each]
        if how.freeze:
            below = [stacked.classifier(own, inputs, n_classes).hidden for own in members]
            models = [m._replace(hidden=own) for m, own in zip(models, below, strict=True)]
        return jax.device_get(models)

    if not watches:
        return [Tuned(whole(trained.state.params), None)]
    ended = [watch.done(how.finetune_epochs) for watch in watches]
    return [Tuned(whole(w.params), w.rule, e) for w, e in zip(watches, ended, strict=True)]


def _encoded(layers: Sequence[AnyParams | stacked.Layer], part: Split, pixel_scale: float) -> Split:
    """A part of the data as codes of the layers, (members, images, units), with its labels."""
    images, labels = part
    if not len(images):
        return part
    for layer in layers:
        images = codes(layer, images, pixel_scale)
    if labels is not None and labels.ndim == 1:
        labels = np.stack([labels] * len(images))
    return Split(images, labels)


def _finetuning_cost(
    how: Finetuning, image_shape: Sequence[int] | None, pixel_scale: float, activation: str
) -> Callable[..., Any]:
    """The cost of fine-tuning with the dropout and the shifts of the settings."""
    numbers: dict[str, Any] = {"pixel_scale": pixel_scale}
    if any(how.dropout):
        inputs, hidden = how.dropout
        # the codes of a frozen stack are hidden units
        numbers["dropout"] = (hidden if how.freeze else inputs, hidden)
    shape = None if image_shape is None else tuple(image_shape)
    return training.bind(_chosen(activation, shape, how.shift), **numbers)


@cache  # the same object for the same choices, since JAX compares functions by identity
def _chosen(
    activation: str, image_shape: Sequence[int] | None, furthest: int
) -> Callable[..., Any]:
    cost: Any = partial(stacked.cost, activation=saved.ACTIVATIONS[activation])
    if not furthest:
        return cost
    assert image_shape is not None
    return corruption.shifted(cost, image_shape, furthest)


def _errors(
    logits: Callable[..., Any], valid: Split, pixel_scale: float
) -> Callable[[int, Classifier], float]:
    """The error rate of one member on the validation images, its own if each has its own."""

    def error(i: int, model: Classifier) -> float:
        images, labels = valid
        assert labels is not None
        if images.ndim == 3:
            images, labels = images[i], labels[i]
        return evaluation.error_rate(logits, model, images, labels, pixel_scale)

    return error
