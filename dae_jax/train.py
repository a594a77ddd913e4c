"""``python -m dae_jax.train``: train a dA, or a sweep of them, and draw what it learnt."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from dae_jax import console as command
from dae_jax.errors import InputError
from dae_jax.files import writable_folder
from dae_jax.settings import train as config
from dae_jax.settings.train import Config

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.runs.da import Run
    from dae_jax.training import State

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
        settings = command.settings_to_resume(settings, argv, PROG, may_grow="epochs")
    config.validate(settings)
    command.set_up_jax(settings.training.precision, len(settings.members))
    run = _prepare(settings)

    from dae_jax.runs import checkpoints
    from dae_jax.runs import da as report

    params = _train(run)
    if params is None:
        return 130
    report.finish(run, params, checkpoints.read_metrics(run.folder / "metrics.jsonl"))
    return 0


def _prepare(settings: Config) -> "Run":
    """Load the data, fill in what depends on it, and open the run directory."""
    from dae_jax.datasets import checks as inputs
    from dae_jax.runs import da as report
    from dae_jax.runs import stage as runs

    d, t = settings.data, settings.training
    dataset, instead = inputs.load(d)
    linear = settings.model.decoder == "linear"
    inputs.check_range(dataset.name, dataset.train.images, d.pixel_scale, t.cost, linear=linear)
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
    folder = runs.open_folder(
        settings.output.run_dir, settings.output.resume, config.to_json(settings)
    )
    return report.Run(settings, dataset, instead, folder)


def _train(run: "Run") -> Any:
    """Train to the end and return the parameters, or None after Ctrl-C."""
    import jax

    from dae_jax import training
    from dae_jax.runs import da as report
    from dae_jax.runs import stage as runs

    s = run.settings
    t = s.training
    optimizer = training.optimiser(t.optimizer, t.learning_rate)
    cost, state, key = _start(s, run.dataset.train.images.shape[1], optimizer)
    frames = report.Frames(run, state.params) if s.output.animate else None
    stage = runs.Stage(
        run.folder,
        run.epochs,
        run.updates * t.batch_size * len(run.names),
        f"--learning-rate, which is {t.learning_rate:g}",
        f"{PROG} --resume --run-dir {run.folder}",
    )
    done = runs.train(
        stage,
        cost,
        state,
        run.dataset.train.images,
        key,
        resume=s.output.resume,
        watch=frames,
        optimizer=optimizer,
        batch_size=t.batch_size,
        shuffle=t.shuffle,
    )
    return None if done is None else jax.device_get(done.params)


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


def cli() -> int:
    """The console script ``dae-jax``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
