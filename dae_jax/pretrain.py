"""``python -m dae_jax.pretrain``: a stack of dAs, fine-tuned as a classifier, and tested."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from dae_jax import console as command
from dae_jax.errors import InputError
from dae_jax.settings import pretrain as pretrain_config
from dae_jax.settings import train as config
from dae_jax.settings.pretrain import PRESETS, PROG, Config

if TYPE_CHECKING:  # JAX itself waits until the flags are known to make sense
    from dae_jax.runs.stack import Run


def main(argv: Sequence[str]) -> int:
    """Parse, load, pretrain, fine-tune, report; or compare.

    Returns:
        0, or 130 after Ctrl-C.

    Raises:
        InputError: Whatever the user can mend.
    """
    settings = command.parse(Config, argv, PROG)
    # Parsed once more, so that the recipe sets what is not given, and nothing else.
    settings = command.parse(Config, argv, PROG, default=PRESETS[settings.preset])
    if settings.output.resume:
        settings = command.settings_to_resume(settings, argv, PROG, may_grow="finetune_epochs")
    pretrain_config.validate(settings)
    command.set_up_jax(settings.running.precision, settings.running.seeds)
    run = _prepare(settings, " ".join([PROG, *argv]))

    from dae_jax.runs import comparison as compare
    from dae_jax.runs import stack as stages
    from dae_jax.runs import stack_report as stacked_report

    if settings.comparison.compare:
        return 0 if compare.run(run) else 130
    layers = stages.pretrain(run)
    if layers is None:
        return 130
    train = run.dataset.train
    f = settings.finetuning
    tuned = stages.finetune(
        run,
        run.folder / "finetune",
        layers,
        train.images,
        train.labels,  # type: ignore[arg-type]  # _prepare has asked for them
        learning_rate=f.finetune_learning_rate,
        freeze=f.freeze,
    )
    if tuned is None:
        return 130
    stacked_report.finish(run, layers, tuned)
    return 0


def _prepare(settings: Config, typed: str) -> "Run":
    """Load the data, fill in what depends on it, and open the run directory."""
    from dae_jax import training
    from dae_jax.datasets import checks as inputs
    from dae_jax.runs import comparison as compare
    from dae_jax.runs import stage as runs
    from dae_jax.runs.stack import Run

    d, p, f = settings.data, settings.pretraining, settings.finetuning
    dataset, instead = inputs.load(d)
    inputs.check_labels(dataset)
    inputs.check_shift(dataset, f.shift)
    if settings.comparison.compare:
        compare.check(dataset, settings)
    training.optimiser(f.finetune_optimizer, f.finetune_learning_rate)  # refuses unknown names
    images = dataset.train.images
    if d.unlabelled is not None:
        images = inputs.with_more(dataset, d.unlabelled, d.image_size)
    lowest = settings.layer(0)
    linear = lowest["decoder"] == "linear"
    inputs.check_range(dataset.name, images, d.pixel_scale, lowest["cost"], linear=linear)
    for name, size, n in (
        ("--batch-size", p.batch_size, len(images)),
        ("--finetune-batch-size", f.finetune_batch_size, len(dataset.train.images)),
    ):
        if size > n:
            raise InputError(name, expected=f"at most {n}, the training images", got=size)
    epochs = p.pretrain_epochs
    if not epochs:
        epochs = (pretrain_config.default_epochs(dataset.name, len(images), p.batch_size),)
        if dataset.name != "mnist":
            updates = epochs[0] * (len(images) // p.batch_size)
            print(f"{epochs[0]} epochs a layer of {len(images):,} images: {updates:,} updates")
    settings = replace(
        settings,
        data=replace(d, data=d.data or dataset.name),
        pretraining=replace(p, corruption=settings.corruption, pretrain_epochs=epochs),
    )
    asked = settings.output
    folder = runs.open_folder(asked.run_dir, asked.resume, config.to_json(settings))
    began_with = runs.first_command(folder, typed, asked.resume)
    return Run(settings, dataset, images, instead, folder, began_with)


def cli() -> int:
    """The console script ``dae-jax-pretrain``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
