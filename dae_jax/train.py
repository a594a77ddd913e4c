"""``python -m dae_jax.train``: train a dA, or a sweep of them, and draw what it learnt."""

import datetime
import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dae_jax import command, config
from dae_jax.config import Config
from dae_jax.errors import InputError
from dae_jax.files import writable_folder, write_whole

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.checkpoints import Checkpoints
    from dae_jax.datasets import Dataset
    from dae_jax.report import Run
    from dae_jax.training import Report, State

PROG = "python -m dae_jax.train"


def main(argv: Sequence[str]) -> int:
    """Parse, load, train, draw, report.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        InputError: Whatever the user can mend.
    """
    settings = command.parse(Config, argv, PROG)
    if settings.output.resume:
        settings = _settings_to_resume(settings, argv)
    config.validate(settings)
    command.set_up_jax(settings.training.precision, len(settings.members))
    run = _prepare(settings)

    from dae_jax import checkpoints, report

    params = _train(run)
    if params is None:
        return 130
    report.finish(run, params, checkpoints.read_metrics(run.folder / "metrics.jsonl"))
    return 0


def _settings_to_resume(asked: Config, argv: Sequence[str]) -> Config:
    """The configuration in the run directory, after a look whether the flags agree with it."""
    folder = Path(str(asked.output.run_dir))
    path = folder / "config.json"
    if not path.exists():
        if folder.exists() and any(folder.iterdir()):
            raise InputError(f"--resume: {folder} holds no run", do="check the path of --run-dir")
        print(f"no run in {folder} yet: starting from the beginning")
        return asked
    try:
        saved = config.from_json(json.loads(path.read_text()))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}", do="start again in another one") from error
    # Parsed once more with the run's own settings as defaults, only what was asked for can differ.
    asked = command.parse(Config, argv, PROG, default=saved)
    differing = config.differences(saved, asked)
    if differing:
        raise InputError(
            f"--resume: the run in {folder} has another configuration ({'; '.join(differing)})",
            do="leave these flags away, or choose another --run-dir",
        )
    return config.resumed(saved, asked)


def _prepare(settings: Config) -> "Run":
    """Load the data, fill in what depends on it, and open the run directory."""
    from dae_jax import datasets, report

    d, t = settings.data, settings.training
    how = {"valid_fraction": d.valid_fraction, "image_size": d.image_size}
    dataset = datasets.load(d.data, **how) if d.data is not None else datasets.load_default(**how)
    instead = d.data is None and dataset.name != "mnist"
    if instead:
        print(f"*** MNIST is not to be had: training on {dataset.name} ({dataset.source}) ***")
    check_range(dataset, settings)
    n_images = len(dataset.train.images)
    if t.batch_size > n_images:
        raise InputError(
            "--batch-size", expected=f"at most {n_images}, the training images", got=t.batch_size
        )
    epochs = t.epochs or config.default_epochs(dataset.name, n_images, t.batch_size)
    if t.epochs is None and dataset.name != "mnist":
        print(
            f"{epochs} epochs of {n_images:,} images, {epochs * (n_images // t.batch_size):,} "
            f"updates: about the tutorial's {config.TUTORIAL_UPDATES:,}"
        )
    settings = replace(
        settings,
        data=replace(d, data=d.data or dataset.name),
        training=replace(t, epochs=epochs),
    )
    writable_folder(settings.output.output_dir)
    return report.Run(settings, dataset, instead, _run_folder(settings))


def check_range(dataset: "Dataset", settings: Config) -> None:
    """Refuse pixels that a sigmoid decoder cannot give back.

    Raises:
        InputError: Values outside [0, 1] after scaling.
    """
    import numpy as np

    if settings.model.decoder == "linear":
        return
    images = dataset.train.images
    integers = np.issubdtype(images.dtype, np.integer)
    scale = settings.data.pixel_scale if integers else 1
    low, high = images.min() / scale, images.max() / scale
    if low >= 0 and high <= 1:
        return
    raise InputError(
        f"pixels of {dataset.name}",
        expected=f"values in [0, 1] for --cost {settings.training.cost} with a sigmoid decoder",
        got=f"{low:.4g} to {high:.4g}",
        do=f"pass --pixel-scale {images.max()}"
        if integers and low >= 0
        else "scale them to [0, 1], or use --cost squared-error --decoder linear, which fits any",
    )


def _run_folder(settings: Config) -> Path:
    """The run directory, with its configuration in it."""
    asked = settings.output.run_dir
    if asked is None:
        now = datetime.datetime.now().strftime("runs/%Y%m%d-%H%M%S")
        names = itertools.chain([now], (f"{now}-{i}" for i in itertools.count(2)))
        asked = next(name for name in names if not Path(name).exists())
    folder = Path(asked)
    if (folder / "config.json").exists() and not settings.output.resume:
        raise InputError(
            f"--run-dir: {folder} holds a run already", do="pass --resume, or choose another folder"
        )
    writable_folder(folder)
    write_whole(folder / "config.json", json.dumps(config.to_json(settings), indent=2) + "\n")
    return folder


def _train(run: "Run") -> Any:
    """Train to the end and return the parameters, or None after Ctrl-C."""
    import jax

    from dae_jax import checkpoints, report, training

    s = run.settings
    optimizer = training.optimiser(s.training.optimizer, s.training.learning_rate)
    cost, state, key = _start(s, run.dataset.train.images.shape[1], optimizer)
    metrics = run.folder / "metrics.jsonl"
    with checkpoints.Checkpoints(run.folder / "checkpoints") as saved:
        start = 0
        if s.output.resume and (found := saved.restore(state)):
            start, state = found
            print(f"going on after epoch {start} of {run.epochs}")
        checkpoints.write_metrics(metrics, checkpoints.read_metrics(metrics, start))
        if s.output.animate and start == 0:
            report.draw_frames(run, 0, state.params)
        reports = training.fit(
            cost,
            state,
            run.dataset.train.images,
            key,
            optimizer=optimizer,
            epochs=run.epochs,
            batch_size=s.training.batch_size,
            shuffle=s.training.shuffle,
            start=start,
        )
        with command.Progress(run.epochs, start) as progress, command.interruptible() as stop:
            for told in reports:
                _after_epoch(run, told, saved, metrics, progress)
                state = told.state
                if stop() and told.epoch < run.epochs:
                    saved.save(told.epoch, state, now=True)
                    again = f"{PROG} --resume --run-dir {run.folder}"
                    print(f"stopped after epoch {told.epoch}; go on with:  {again}")
                    return None
        saved.save(run.epochs, state, now=True)
    return jax.device_get(state.params)


def _start(settings: Config, n_visible: int, optimizer: Any) -> tuple[Any, "State", Any]:
    """The cost, the first state and the key; stacked, if there are several members."""
    import jax
    import jax.numpy as jnp

    from dae_jax import autoencoder, training

    fixed = partial(
        autoencoder.denoising_cost,
        noise=settings.corruption.noise,
        objective=settings.training.cost,
        decoder=settings.model.decoder,
    )
    scale = jnp.asarray(settings.data.pixel_scale, float)

    def begin(level: float, seed: int) -> tuple[Any, "State", Any]:
        key = jax.random.key(seed)
        size = n_visible, settings.model.n_hidden
        if settings.model.init == "tutorial":
            params = autoencoder.init_tutorial(seed, *size, tied=settings.model.tied)
        else:
            # Epochs are folded in from 0 on; the last number there is makes a key of its own.
            key_init = jax.random.fold_in(key, 2**32 - 1)
            params = autoencoder.init(key_init, *size, tied=settings.model.tied)
        cost = jax.tree_util.Partial(fixed, level=jnp.asarray(level, float), pixel_scale=scale)
        return cost, training.start_state(params, optimizer), key

    members = [begin(level, seed) for level, seed in settings.members]
    return members[0] if len(members) == 1 else training.stack(members)


def _after_epoch(
    run: "Run", told: "Report", saved: "Checkpoints", metrics: Path, progress: command.Progress
) -> None:
    """Metrics, frame, checkpoint and progress of one epoch, in an order that survives a crash."""
    from dae_jax import checkpoints, report

    costs = told.cost.reshape(-1).tolist()
    if not told.finite:
        kept = saved.latest()
        raise InputError(
            f"training diverged in epoch {told.epoch}: the cost is {' '.join(map(str, costs))}"
            + (f" (the checkpoint of epoch {kept} is kept)" if kept else ""),
            do=f"lower --learning-rate, which is {run.settings.training.learning_rate:g}",
        )
    row: dict[str, Any] = {"epoch": told.epoch, "cost": sum(costs) / len(costs)}
    if len(costs) > 1:
        row["costs"] = costs
    checkpoints.append_metrics(metrics, row | {"seconds": told.seconds})
    if run.settings.output.animate and told.epoch % max(1, run.epochs // 60) == 0:
        report.draw_frames(run, told.epoch, told.state.params)
    saved.save(told.epoch, told.state)
    images = run.updates * run.settings.training.batch_size * len(costs)
    left = (run.epochs - told.epoch) * told.seconds
    words = " ".join(f"{cost:#.6g}" for cost in costs)
    progress.tell(told.epoch, words, images / told.seconds, left)


def cli() -> int:
    """The console script ``dae-jax``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
