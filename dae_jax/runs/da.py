"""The run of ``python -m dae_jax.train``: one dA, or a sweep over levels and seeds."""

import errno
import hashlib
import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key
from numpy.typing import NDArray

from dae_jax import autoencoder, corruption, evaluation, figures, memory, rows, training
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset, Split, checks
from dae_jax.datasets.scaling import Scaling, standardisation
from dae_jax.early_stopping import Best, as_sweep
from dae_jax.errors import InputError
from dae_jax.figures import plots
from dae_jax.files import unwritable, writable_folder, write_whole
from dae_jax.objectives import AnyArray
from dae_jax.rows import AnyRows
from dae_jax.runs import cards, restoring, saved, stage
from dae_jax.runs import run as runs
from dae_jax.runs.checkpoints import write_metrics
from dae_jax.runs.run import Member, Run
from dae_jax.settings import shared
from dae_jax.settings.shared import Denoising
from dae_jax.settings.train import TUTORIAL_UPDATES, Settings, Training, default_epochs
from dae_jax.training import Report, Watch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "HeldOut",
    "Trained",
    "begin",
    "figure_suffix",
    "file_name",
    "finish",
    "measures",
    "needs",
    "percent",
    "reconstructions",
    "restored",
    "seen",
    "train",
]

PyTree = Any
# The names of figures are shorter than systems allow (255 bytes), for what is added: _labelled,
# .png, the letters of a temporary file. The path of a folder leaves room for them, too.
LONGEST_NAME, MOST_BYTES, MOST_OF_A_FOLDER = 200, 255, 3_800
MEASURED_IMAGES = 10_000  # of the validation images, for the measures beside the figures


def begin(settings: Settings, command: str) -> Run[Settings]:
    """Load and check the data, resolve the settings, and open the run directory.

    Args:
        settings: The settings, checked.
        command: The command as it was typed.
    """
    dataset, instead = runs.load_data(settings.data)
    images, t = dataset.train.images, settings.training
    if t.batch_size > len(images):
        expected = f"at most {len(images)}, the training images"
        raise InputError("--batch-size", expected=expected, got=t.batch_size)
    if t.early_stopping and not len(dataset.valid.images):
        expected, do = "images held out for validation", "leave out --valid-fraction 0"
        raise InputError("--early-stopping", expected=expected, got="none", do=do)
    if n_missing := sum(rows.missing(part.images) for part in dataset.parts):
        print(f"{n_missing:,} values are missing: 0 at the input, and left out of the cost")
    data = runs.in_blocks(settings.data, t.batch_size, images)
    resolved = _resolved(replace(settings, data=data), dataset)
    memory.check_all(needs(resolved, dataset))
    members = _named_members(resolved)
    folder = _checked_folder(resolved.output.output_dir)
    if t.epochs is None and dataset.name != "mnist":
        print(
            f"{resolved.epochs} epochs of {len(images):,} images, "
            f"{resolved.epochs * (len(images) // t.batch_size):,} updates: "
            f"about the tutorial's {TUTORIAL_UPDATES:,}"
        )
    run = runs.open_run(resolved, dataset, members, command, instead_of_mnist=instead)
    writable_folder(folder)
    return run


def _named_members(resolved: Settings) -> list[Member]:
    """The members, each with a folder of its own.

    Raises:
        InputError: Two levels have the same name.
    """
    levels = {}
    for level in resolved.corruption.corruption:
        if (other := levels.setdefault(percent(level), level)) != level:
            raise InputError(
                "--corruption",
                expected="levels that differ in the ten digits of their folders' names",
                got=f"{other} and {level}",
                do="leave one out",
            )
    return [
        Member(
            f"corruption_{percent(how.corruption)}"
            + (f"_seed_{seed}" if resolved.training.seeds > 1 else ""),
            seed,
        )
        for how, seed in resolved.members
    ]


def _checked_folder(path: str) -> Path:
    """The folder for the figures, which is not made yet, since the run may still be refused.

    Raises:
        InputError: It cannot be made, or files with the names of figures cannot be written to it.
    """
    folder = Path(path)
    longest = max(len(os.fsencode(part)) for part in ("", *folder.parts))
    if longest > MOST_BYTES or len(os.fsencode(folder)) > MOST_OF_A_FOLDER:
        expected = f"a path of {MOST_OF_A_FOLDER} bytes and names of {MOST_BYTES} at most"
        raise InputError("--output-dir", expected=expected, got=f"one of {len(path)} letters")
    above = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not os.path.isdir(above):
        raise unwritable(folder, NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
    writable_folder(above)
    return folder


def needs(resolved: Settings, dataset: Dataset) -> list[memory.Need]:
    """The memory that a run takes at least, beside the data that are loaded.

    The models: n_visible n_hidden + n_hidden + n_visible parameters (and as many weights again if
    they are untied), see `memory.of_training`. The images: as many bytes again, on the device; of
    standardised ones, four for every value of the three parts, and as many for the training images
    on the device.

    Args:
        resolved: The settings, resolved.
        dataset: The data set.
    """
    m, t, images = resolved.model, resolved.training, dataset.train.images
    n_visible, width = images.shape[1], 8 if t.precision == "float64" else 4
    weights = n_visible * m.n_hidden * (1 if m.tied else 2)
    n_parameters = weights + m.n_hidden + n_visible
    models = memory.of_training(n_parameters, str(t.optimizer), resolved.n_members, width)
    data = memory.of_images(images.shape, images.itemsize, resolved.data.block_size)
    if m.standardize:
        parts = [part.images for part in dataset.parts if isinstance(part.images, np.ndarray)]
        data = data * 4 // images.itemsize + 4 * sum(part.size for part in parts)
    fewer = ", or train fewer levels and seeds at a time" if resolved.n_members > 1 else ""
    return [
        memory.Need("models" if fewer else "model", models, f"lower --n-hidden{fewer}"),
        memory.Need("images", data, "give fewer or smaller ones"),
    ]


def _resolved(settings: Settings, dataset: Dataset) -> Settings:
    """The settings for a data set; says what it chooses for a table.

    Raises:
        InputError: Values that the output cannot restore.
    """
    images, scale, m = dataset.train.images, settings.data.pixel_scale, settings.model
    table = dataset.image_shape is None and images.dtype.kind == "f"
    low, high = rows.bounds(images) if table else (0, 1)
    unit = low >= 0 and high <= 1
    resolved = settings.resolved(dataset.name, len(images), unit=bool(unit), table=table)
    t, linear = resolved.training, resolved.model.decoder == "linear"
    checks.check_range(dataset.name, images, scale, str(t.cost), linear=linear)
    if resolved.model.standardize and not m.standardize:
        print(
            "values outside [0, 1]: columns are standardised, and restored by a linear output with "
            f"the {t.cost}, {t.optimizer} and --learning-rate {t.learning_rate:g}"
        )
    return resolved


def seen(run: Run[Settings]) -> tuple[Dataset, Scaling | None]:
    """The data as the network sees them, and how their columns are standardised; None if not."""
    dataset = run.dataset
    if not run.settings.model.standardize:
        return dataset, None
    scaling = standardisation(dataset.train.images, dataset.name, dataset.columns)
    train, valid, test = (
        Split(_scaled(scaling, part.images), part.labels) for part in dataset.parts
    )
    return dataset._replace(train=train, valid=valid, test=test), scaling


def _scaled(scaling: Scaling, images: AnyRows) -> AnyRows:
    if isinstance(images, np.ndarray):
        return scaling.apply(images)
    return rows.Computed(images, scaling.apply, images.shape)


class Trained(NamedTuple):
    """The models of a run after training."""

    params: list[AnyParams]
    """Of each member."""
    epochs: list[int]
    """The epoch of these: the last one or, with early stopping, the best one."""
    rows: list[dict[str, Any]]
    """The metrics of each epoch."""
    dataset: Dataset
    """The data as the network sees them."""
    scaling: Scaling | None
    """How columns are standardised; None if they are not."""


def train(run: Run[Settings]) -> Trained | None:
    """Train all members; None after Ctrl-C."""
    s, t = run.settings, run.settings.training
    dataset, scaling = seen(run)
    images = dataset.train.images
    missing = any(rows.missing(part.images) for part in dataset.parts)
    optimizer = training.optimiser(str(t.optimizer), _rate(s))
    costs = [stage.denoising_cost(how, run.pixel_scale, missing=missing) for how, _ in s.members]
    params = [initial_params(s, seed, images.shape[1]) for _, seed in s.members]
    keys = [jax.random.key(seed) for _, seed in s.members]
    if len(params) == 1:
        (cost,), state, key = costs, training.start_state(params[0], optimizer), keys[0]
    else:
        (cost, state), key = training.sweep(costs, params, optimizer), jnp.stack(keys)
    frames = [run.member_folder(i) / "frames" for i in range(len(params))]
    shape, updates = run.dataset.image_shape, len(images) // t.batch_size
    held_out = HeldOut(
        costs, params, dataset.valid.images, keys, updates if t.early_stopping else None
    )
    animate = s.output.animate and shape is not None
    trained = stage.train(
        stage.Stage(
            optimizer,
            s.epochs,
            t.batch_size,
            t.shuffle,
            learning_rate=f"--learning-rate, which is {_rate(s):g}",
            place=run.place("", run.folder),
            resources=run.resources,
        ),
        cost,
        state,
        images,
        key,
        Frames(frames, shape, s.epochs, state, held_out) if animate else held_out,
    )
    if trained is None:
        return None
    if (best := held_out.best) is not None:
        each = [training.member(best.params, i) for i in range(len(params))]
        return Trained(each, best.rule.best_epoch.tolist(), trained.rows, dataset, scaling)
    each = _members(jax.device_get(trained.state.params), len(params))
    return Trained(each, [s.epochs] * len(params), trained.rows, dataset, scaling)


def _rate(settings: Settings) -> float:
    """The learning rate of resolved settings."""
    assert settings.training.learning_rate is not None
    return settings.training.learning_rate


def initial_params(settings: Settings, seed: int, n_visible: int) -> AnyParams:
    """The parameters of the member with that seed before training."""
    size = n_visible, settings.model.n_hidden
    if settings.model.init == "tutorial":
        return autoencoder.init_tutorial(seed, *size, tied=settings.model.tied)
    key = jax.random.fold_in(jax.random.key(seed), stage.INIT)
    return autoencoder.init(key, *size, tied=settings.model.tied)


def _members(params: Any, n: int) -> list[AnyParams]:
    """Each member's parameters; those of a single one have no axis of members."""
    return [params] if n == 1 else [training.member(params, i) for i in range(n)]


class HeldOut(Watch):
    """A watch that computes the denoising cost of held-out images after each epoch.

    The noise is the same each time. Up to 10,000 images are used; without any, nothing is done.

    Args:
        costs: The cost of each member.
        params: Its parameters before training.
        images: The held-out images.
        keys: Its key.
        updates: Minibatches per epoch, to keep the best parameters and to stop by
            `early_stopping`; None to train all epochs.
    """

    def __init__(
        self,
        costs: Sequence[jax.tree_util.Partial],
        params: Sequence[AnyParams],
        images: AnyRows,
        keys: Sequence[Key[Array, ""]],
        updates: int | None = None,
    ):
        self._costs, self._images = costs, jnp.asarray(images[:MEASURED_IMAGES])
        self._keys = keys
        self._now: list[float] = []
        self.best = None
        if updates is not None:
            together = jax.tree.map(lambda *leaves: np.stack(leaves), *jax.device_get(params))
            self.best = Best(together, lambda i, _: self._now[i], updates)

    @property
    def kept(self) -> PyTree:
        """The best parameters and the state of the rule."""
        return () if self.best is None else self.best.kept

    @kept.setter
    def kept(self, value: PyTree) -> None:
        """Go on from what a checkpoint holds."""
        if self.best is not None:
            self.best.kept = value

    def after(self, report: Report) -> dict[str, Any]:
        """The cost as ``valid_cost``, of several members as ``valid_costs``, for the metrics."""
        if not len(self._images):
            return {}
        n = len(self._costs)
        params = _members(report.state.params, n)
        self._now = [self._cost(i, each) for i, each in enumerate(params)]
        if self.best is not None:
            self.best.after(as_sweep(report) if n == 1 else report)
        return {"valid_cost": self._now[0]} if n == 1 else {"valid_costs": self._now}

    def finished(self, epoch: int) -> Bool[np.ndarray, "members"] | None:
        """Members whose patience is exhausted; None without early stopping."""
        return None if self.best is None else self.best.finished(epoch)

    def _cost(self, i: int, params: AnyParams) -> float:
        key = jax.random.fold_in(self._keys[i], stage.VALID)
        return float(stage.cost_of(self._costs[i], params, self._images, key))


class Frames(Watch):
    """A watch that draws the filters for the animation into files, which a resumed run completes.

    Args:
        folders: One folder per member.
        image_shape: See `figures.tile`.
        epochs: The length of the training, of which about sixty epochs are drawn.
        state: The state before the first epoch.
        beside: Another watch of the same training, which decides when it ends.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        image_shape: Sequence[int] | None,
        epochs: int,
        state: training.State,
        beside: Watch,
    ):
        self._folders, self._image_shape, self._beside = folders, image_shape, beside
        self._every = max(1, epochs // 60)
        self._draw(0, state.params)

    @property
    def kept(self) -> PyTree:
        """The state of the other watch."""
        return self._beside.kept

    @kept.setter
    def kept(self, value: PyTree) -> None:
        """Give it to the other watch."""
        self._beside.kept = value

    def after(self, report: Report) -> dict[str, Any]:
        """Draw the filters of every epoch, or of every few."""
        if report.epoch % self._every == 0:
            self._draw(report.epoch, report.state.params)
        return self._beside.after(report)

    def finished(self, epoch: int) -> Bool[np.ndarray, "members"] | None:
        """Members that are finished for the other watch."""
        return self._beside.finished(epoch)

    def _draw(self, epoch: int, params: Any) -> None:
        models = _members(params, len(self._folders))
        for folder, model in zip(self._folders, models, strict=True):
            sheet = figures.filter_sheet(model.W, self._image_shape)
            figures.save_png(folder / f"epoch_{epoch:05d}.png", sheet, {})


def finish(run: Run[Settings], trained: Trained) -> None:
    """Draw, measure and save all members, and print a summary."""
    s, images = run.settings, run.dataset.train.images
    params, epochs, rows, dataset, scaling = trained
    baselines = restoring.Baselines(_some_pixels(dataset.train, run.pixel_scale), s.model.n_hidden)
    seconds = sum(row["seconds"] for row in rows)
    updates = len(rows) * (len(images) // s.training.batch_size)
    speed = {
        "seconds": round(seconds, 3),
        "images_per_second": round(updates * s.training.batch_size * len(params) / seconds),
        "device": jax.devices()[0].device_kind,
    }
    results, curve = [], _draw_costs(run, rows)
    for i, (model, (how, seed)) in enumerate(zip(params, s.members, strict=True)):
        own = [_of_member(row, i) for row in rows]
        result = {
            "corruption": how.corruption,
            "seed": seed,
            "epochs": epochs[i],
            "cost": own[epochs[i] - 1]["cost"],
            **measures(model, dataset, how, run.pixel_scale),
            "restored": restored(baselines, model, dataset, how, run.pixel_scale, seed)._asdict(),
            "data": {
                "name": run.dataset.name,
                "source": run.dataset.source,
                "train_images": len(images),
                "instead_of_mnist": run.instead_of_mnist,
            },
            "figures": [str(path) for path in [*_draw(run, trained, i), curve]],
            **speed,
        }
        folder = run.member_folder(i)
        card = cards.card("autoencoder", run.dataset, s, seed, how, scaling, run.sha256)
        saved.save(folder / saved.DA, model, card)
        write_whole(folder / "results.json", json.dumps(result, indent=2) + "\n")
        if len(params) > 1:
            write_metrics(folder / "metrics.jsonl", own)
        first = folder / saved.DA if run.dataset.image_shape is None else result["figures"][0]
        print(f"{first}  {_in_words(result)}")
        print(_restored_in_words(result["restored"], how))
        results.append(result)
    if len(results) > 1:
        write_whole(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
    if run.dataset.image_shape is None:
        print(f"{curve}  the learning curve; no sheets of images, since the data are vectors")
    else:
        print(f"{curve}  the learning curve; *_labelled.png are the sheets, enlarged, with labels")
    if len(s.corruption.corruption) > 1 and run.dataset.image_shape is not None:
        print(f"{_draw_comparison(run, params)}  the same units, one column per level")
    if s.training.seeds > 1:
        _print_spread(results)
    costs = " ".join(f"{result['cost']:#.6g}" for result in results)
    print(
        f"cost {costs} after {_epochs_in_words(epochs)} on {run.dataset.name}; {updates:,} updates "
        f"in {seconds:.1f} s, {speed['images_per_second']:,} images/s; run {run.folder}"
    )


def _epochs_in_words(epochs: Sequence[int]) -> str:
    return f"{' '.join(map(str, sorted(set(epochs))))} epoch{'s' * (max(epochs) > 1)}"


def _some_pixels(part: Split, pixel_scale: float) -> NDArray[np.floating]:
    """The first images of a part, as the network sees them."""
    images = jnp.asarray(part.images[: restoring.MOST])
    return np.asarray(autoencoder.pixels(images, pixel_scale))


def restored(
    baselines: restoring.Baselines,
    params: AnyParams,
    dataset: Dataset,
    how: Denoising,
    pixel_scale: float,
    seed: int,
) -> restoring.Restored:
    """The errors of restoring held-out images, or training images if none are held out.

    Args:
        baselines: Those of the training images.
        params: The model.
        dataset: The data as the network sees them.
        how: The noise and the decoder.
        pixel_scale: Divisor of integer pixels.
        seed: Of the noise.
    """
    part = dataset.valid if len(dataset.valid.images) else dataset.train
    restore = partial(evaluation.apply, saved.reconstruct(how.decoder), params)
    key = jax.random.fold_in(jax.random.key(seed), stage.RESTORED)
    return baselines.compared(_some_pixels(part, pixel_scale), how, restore, key)


def _restored_in_words(errors: dict[str, Any], how: Denoising) -> str:
    noise = _noise_in_words(how.noise, how.corruption)
    return (
        f"  RMS error per value restored from noise ({noise}): this dA "
        f"{errors['da']:.4g}, PCA with {errors['components']} components {errors['pca']:.4g}, "
        f"column means {errors['mean']:.4g}"
    )


def measures(
    params: AnyParams, dataset: Dataset, how: Denoising, pixel_scale: float
) -> dict[str, float]:
    """Measures of a dA's filters, codes and reconstructions.

    Args:
        params: The model.
        dataset: The data as the network sees them. Up to 10,000 of the validation images are used,
            or of the training images if none are held out.
        how: The cost, whose objective and decoder are used; nothing is corrupted.
        pixel_scale: Divisor of integer pixels.

    Returns:
        ``locality``, the median over the filters, and ``local_filters``, the share of those above
        one half, for images; ``dead_units``, a share; ``valid_cost_uncorrupted``, if images are
        held out. See `evaluation`.
    """
    values: dict[str, float] = {}
    if dataset.image_shape is not None:
        local = evaluation.locality(params.W, dataset.image_shape)
        values["locality"] = float(np.median(local))
        values["local_filters"] = float((local > 0.5).mean())
    held_out = dataset.valid.images[:MEASURED_IMAGES]
    images = held_out if len(held_out) else dataset.train.images[:MEASURED_IMAGES]
    codes = evaluation.apply(saved.encode("sigmoid"), (params,), images, pixel_scale)
    values["dead_units"] = float(evaluation.dead(codes).mean())
    if len(held_out):
        x = autoencoder.pixels(jnp.asarray(held_out), pixel_scale)
        clean = autoencoder.fill(x)
        observed = ~jnp.isnan(x) if rows.missing(held_out) else None
        cost = autoencoder.cost(params, clean, clean, how.cost, how.decoder, observed)
        values["valid_cost_uncorrupted"] = float(cost)
    return values


def reconstructions(
    params: AnyParams, x: AnyArray, how: Denoising, key: Key[Array, ""]
) -> tuple[AnyArray, AnyArray]:
    """Corrupt images and reconstruct them.

    Args:
        params: The model.
        x: Clean images (n, d), as the model sees them.
        how: The corruption and the decoder.
        key: A key for the noise.

    Returns:
        The corrupted images and their reconstructions.
    """
    x_tilde = corruption.corrupt(key, x, how.corruption, how.noise)
    decode = autoencoder.DECODERS[how.decoder]
    return x_tilde, decode(params, autoencoder.encode(params, x_tilde))


def _draw(run: Run[Settings], trained: Trained, i: int) -> list[Path]:
    """Save the figures of one member: its filters, its reconstructions, perhaps the animation.

    Both sheets are saved as the tutorial has them, and enlarged with labels. Vectors that are no
    images have no such figures.
    """
    shape, params, (how, seed) = run.dataset.image_shape, trained.params[i], run.settings.members[i]
    if shape is None:
        return []
    about = run.about | {"level": how.corruption, "seed": seed}
    sheet, n = figures.filter_sheet(params.W, shape), run.settings.model.n_hidden
    noise = _noise_in_words(how.noise, how.corruption)
    about_it = f"{run.dataset.name}, {noise}, {_length_in_words(run)}, seed {seed}"
    paths = _save_sheet(
        _path(run, "filters", [how.corruption], seed),
        sheet,
        about,
        plots.labelled_filters(
            sheet, f"Filters of hidden units 1 to {min(n, 100)} of {n}, {about_it}", n
        ),
    )
    splits = (trained.dataset.test, trained.dataset.valid, trained.dataset.train)
    part = next(split for split in splits if len(split.images))
    x = autoencoder.fill(autoencoder.pixels(jnp.asarray(part.images[:20]), run.pixel_scale))
    x_tilde, z = reconstructions(params, x, how, jax.random.key(seed))
    pixels = partial(_as_pixels, run, trained.scaling)
    sheet = figures.contact_sheet(pixels(x), pixels(x_tilde), pixels(z), shape)
    rows = ["original", f"corrupted\n({noise})", "restored"]
    columns = ("image", [str(n) for n in range(1, len(x) + 1)])
    if part.labels is not None and run.dataset.class_names:
        columns = ("class", [run.dataset.class_names[k] for k in part.labels[:20]])
    labelled = plots.labelled_sheet(
        sheet, f"Reconstructions, {about_it}", ("", rows), columns, "pixel"
    )
    paths += _save_sheet(
        _path(run, "reconstructions", [how.corruption], seed), sheet, about, labelled
    )
    if run.settings.output.animate:
        frames = sorted((run.member_folder(i) / "frames").glob("epoch_*.png"))
        path = _path(run, "filters", [how.corruption], seed, "gif")
        paths.append(figures.save_gif(path, frames))
    return paths


def _as_pixels(run: Run[Settings], scaling: Scaling | None, x: AnyArray) -> AnyArray:
    """Images that the network sees, as pixels in the range of those that are not standardised."""
    if scaling is None:
        return x
    integers = run.dataset.train.images.dtype.kind in "iu"
    return scaling.undo(np.asarray(x)) / (run.pixel_scale if integers else 1)


def _save_sheet(
    path: Path, sheet: NDArray[np.uint8], about: dict[str, Any], labelled: "Figure"
) -> list[Path]:
    """Save a sheet as the tutorial has it, and enlarged with labels beside it."""
    beside = path.with_stem(f"{path.stem}_labelled")
    return [figures.save_png(path, sheet, about), plots.save(beside, labelled, about)]


def _length_in_words(run: Run[Settings]) -> str:
    return f"{run.settings.epochs} epoch{'s' * (run.settings.epochs > 1)}"


NOISE_IN_WORDS = {"gaussian": "Gaussian noise", "salt-and-pepper": "salt and pepper"}


def _noise_in_words(noise: str, *levels: float) -> str:
    """The kind of noise and its levels in words.

    >>> _noise_in_words("masking", 0, 0.3), _noise_in_words("gaussian", 0.125)
    ('masking, 0 %, 30 %', 'Gaussian noise, σ = 0.125')
    """
    return ", ".join([NOISE_IN_WORDS.get(noise, noise), *_levels_in_words(noise, levels)])


def _levels_in_words(noise: str, levels: Sequence[float]) -> list[str]:
    """Each level: a probability in per cent or, for Gaussian noise, a standard deviation."""
    return [f"σ = {x:g}" if noise == "gaussian" else f"{percent(x)} %" for x in levels]


def _draw_costs(run: Run[Settings], rows: Sequence[dict[str, Any]]) -> Path:
    """Save the learning curves of all members: one colour per level, one curve per seed."""
    s = run.settings
    levels, noise = s.corruption.corruption, s.corruption.noise
    costs = np.array([row.get("costs", [row["cost"]]) for row in rows])
    by_level = costs.reshape(len(rows), len(levels), s.training.seeds)
    curves = {name: by_level[:, i] for i, name in enumerate(_levels_in_words(noise, levels))}
    what = "vector" if run.dataset.image_shape is None else "image"
    unit = "nats" if s.training.cost == "cross-entropy" else "squared units"
    label = f"{s.training.cost} of training {what}s\n({unit} per {what})"
    seeds = f", {s.training.seeds} seeds" if s.training.seeds > 1 else ""
    title = (
        f"Learning curve, {run.dataset.name}, {s.model.n_hidden} hidden units\n"
        f"{_noise_in_words(noise, *levels)}{seeds}"
    )
    figure = plots.curves(curves, label, title, NOISE_IN_WORDS.get(noise, noise))
    path = _path(run, "cost", levels, s.training.seed)
    if seeds:
        path = path.with_stem(f"{path.stem}_seeds-{s.training.seeds}")
    return plots.save(path, figure, run.about)


def _draw_comparison(run: Run[Settings], params: Sequence[AnyParams]) -> Path:
    """Save the sheet of the same units of the first seed at every level, one column per level."""
    s = run.settings
    pairs = zip(params, s.members, strict=True)
    weights = [model.W for model, (_, seed) in pairs if seed == s.training.seed]
    path = _path(run, "comparison", s.corruption.corruption, s.training.seed)
    sheet = figures.comparison_sheet(weights, run.dataset.image_shape)
    title = (
        "The same units at several levels\n"
        f"{run.dataset.name}, {_length_in_words(run)}, seed {s.training.seed}\n"
        f"{plots.EACH_ON_ITS_OWN}"
    )
    units = [str(k + 1) for k in range(min(12, s.model.n_hidden))]
    noise = s.corruption.noise
    columns = NOISE_IN_WORDS.get(noise, noise), _levels_in_words(noise, s.corruption.corruption)
    labelled = plots.labelled_sheet(sheet, title, ("unit", units), columns)
    return _save_sheet(path, sheet, run.about, labelled)[0]


def _path(
    run: Run[Settings], kind: str, levels: Sequence[float], seed: int, ending: str = "png"
) -> Path:
    """The path of a figure, which names all settings that differ from the tutorial's."""
    n_images, batch_size = len(run.dataset.train.images), run.settings.training.batch_size
    usual = default_epochs(run.dataset.name, n_images, batch_size)
    suffix = figure_suffix(run.settings, run.dataset.name, seed, usual)
    level = "_".join(percent(level) for level in levels)
    stem = file_name(f"{kind}_corruption_{level}{suffix}")
    return Path(run.settings.output.output_dir) / f"{stem}.{ending}"


def file_name(name: str) -> str:
    r"""A name that any system takes: itself, or its beginning and a hash of the whole.

    It is cut if it is longer than `LONGEST_NAME` bytes. Control characters and bytes that are no
    text, which cannot be printed, become underscores.

    >>> file_name("filters_corruption_30"), file_name("n" * 300)[-12:], file_name("a\x1bb")
    ('filters_corruption_30', 'nnn-230b0774', 'a_b-1b036bb7')
    """
    plain = "".join(
        "_" if unicodedata.category(letter) in ("Cc", "Cs") else letter for letter in name
    )
    if plain == name and len(name.encode()) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain.encode()[: LONGEST_NAME - 9].decode(errors='ignore')}-{digest}"


def figure_suffix(settings: Settings, data_name: str, seed: int, usual_epochs: int | None) -> str:
    """The part of a figure's name that says how it differs from the tutorial's; empty if not.

    It names every setting that changes the figure, so that no experiment overwrites another's.

    >>> figure_suffix(Settings(), "mnist", 123, None), figure_suffix(Settings(), "digits", 7, None)
    ('', '_digits_seed-7')
    """
    words = [] if data_name == "mnist" else [data_name]
    plain = Settings(training=Training(epochs=usual_epochs))
    linear = settings.model.decoder == "linear"  # on which the usual cost and optimiser depend
    usual = shared.flat(plain.resolved("mnist", 1, unit=not linear)) | {"decoder": "sigmoid"}
    for name, value in (shared.flat(settings) | {"seed": seed}).items():
        if name in ("data", "corruption", "seeds") or value in (None, usual[name]):
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"un{flag}")
        else:
            words.append(f"{flag}-{shared.in_words(value).replace(' ', 'x')}")
    return "".join(f"_{word}" for word in words)


def percent(level: float) -> str:
    """A level in per cent, as in the tutorial's file names.

    >>> percent(0.3), percent(0.125)
    ('30', '12.5')
    """
    return f"{100 * level:.10g}"


def _of_member(row: dict[str, Any], i: int) -> dict[str, Any]:
    """A member's own row of metrics."""
    cost = row["costs"][i] if "costs" in row else row["cost"]
    held_out = {"valid_cost": row["valid_cost"]} if "valid_cost" in row else {}
    if "valid_costs" in row:
        held_out = {"valid_cost": row["valid_costs"][i]}
    return {"epoch": row["epoch"], "cost": cost, **held_out, "seconds": row["seconds"]}


def _in_words(result: dict[str, Any]) -> str:
    words = f"{result['dead_units']:.1%} of the units dead"
    if "locality" in result:
        share, median = result["local_filters"], result["locality"]
        words = f"{share:.0%} of the filters local (median locality {median:.2f}), {words}"
    return words


def _print_spread(results: Sequence[dict[str, Any]]) -> None:
    for level in dict.fromkeys(result["corruption"] for result in results):
        costs = [result["cost"] for result in results if result["corruption"] == level]
        print(
            f"corruption {level:g}: cost {np.mean(costs):.4f} mean, "
            f"{np.std(costs, ddof=1):.4f} standard deviation, of {len(costs)} seeds"
        )
