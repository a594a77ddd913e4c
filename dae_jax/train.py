"""``python -m dae_jax.train``: train a dA, or a sweep of them, and draw what it learnt."""

import datetime
import itertools
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dae_jax import command, config
from dae_jax.config import Config
from dae_jax.errors import InputError
from dae_jax.files import writable_folder, write_whole

if TYPE_CHECKING:
    from dae_jax.autoencoder import AnyParams
    from dae_jax.datasets import Dataset
    from dae_jax.training import Report, State

PROG = "python -m dae_jax.train"


def main(argv: Sequence[str]) -> int:
    """The command: parse, load, train, draw, report."""
    settings = command.parse(Config, argv, PROG)
    if settings.output.resume:
        settings = _settings_of_the_run(settings, argv)
    config.validate(settings)
    command.set_up_jax(settings.training.precision, len(settings.members))

    from dae_jax import datasets

    d = settings.data
    how = {"valid_fraction": d.valid_fraction, "image_size": d.image_size}
    if d.data is None:
        dataset = datasets.load_default(**how)
        if dataset.name != "mnist":
            print(
                f"*** MNIST is not to be had here: training on {dataset.name}, {dataset.source} ***"
            )
        settings = replace(settings, data=replace(d, data=dataset.name))
    else:
        dataset = datasets.load(d.data, **how)
    check_range(dataset, settings)
    return _train(settings, dataset, fell_back=d.data is None and dataset.name != "mnist")


def _settings_of_the_run(asked: Config, argv: Sequence[str]) -> Config:
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
    saved = replace(saved, training=replace(saved.training, epochs=asked.training.epochs))
    return config.resumed(saved, asked.output)


def check_range(dataset: "Dataset", settings: Config) -> None:
    """Refuse pixels that the decoder cannot give back.

    Raises:
        InputError: Values outside [0, 1], after scaling, for a sigmoid decoder.
    """
    import numpy as np

    if settings.model.decoder == "linear":
        return
    images = dataset.train.images
    scaled = np.issubdtype(images.dtype, np.integer)
    scale = settings.data.pixel_scale if scaled else 1
    low, high = images.min() / scale, images.max() / scale
    if not (low >= 0 and high <= 1):
        if scaled and low >= 0:
            do = f"pass --pixel-scale {images.max()}, or more"
        else:
            do = "rescale the data, or use --cost squared-error --decoder linear"
        raise InputError(
            f"pixels of {dataset.name}",
            expected=f"values in [0, 1] for {settings.training.cost} with a sigmoid decoder",
            got=f"{low:.4g} to {high:.4g}",
            do=do,
        )


@dataclass(frozen=True)
class Experiment:
    """What the parts of a run need to know."""

    settings: Config
    dataset: "Dataset"
    folder: Path
    fell_back: bool
    epochs: int

    @property
    def names(self) -> list[str]:
        """What the members are called in the run directory."""
        several = self.settings.training.seeds > 1
        return [
            f"corruption_{config.percent(level)}" + (f"_seed_{seed}" if several else "")
            for level, seed in self.settings.members
        ]

    @property
    def about(self) -> dict[str, Any]:
        """What is recorded in every result."""
        from dae_jax import __version__

        return {"dae_jax": __version__, "dataset": self.dataset.name} | config.to_json(
            self.settings
        )

    def member_folder(self, i: int) -> Path:
        return self.folder if len(self.names) == 1 else self.folder / self.names[i]

    def figure(self, kind: str, i: int, ending: str = "png") -> Path:
        level, seed = self.settings.members[i]
        suffix = config.figure_suffix(self.settings, self.dataset.name, seed)
        name = f"{kind}_corruption_{config.percent(level)}{suffix}.{ending}"
        return Path(self.settings.output.output_dir) / name


def _train(settings: Config, dataset: "Dataset", fell_back: bool) -> int:
    import jax

    from dae_jax import checkpoints, training

    t = settings.training
    n_images = len(dataset.train.images)
    if t.batch_size > n_images:
        raise InputError(
            "--batch-size",
            expected=f"at most {n_images}, the number of training images",
            got=t.batch_size,
        )
    epochs = t.epochs or config.default_epochs(dataset.name, n_images, t.batch_size)
    updates = n_images // t.batch_size
    if t.epochs is None and dataset.name != "mnist":
        print(
            f"{epochs} epochs of {n_images:,} images: {epochs * updates:,} updates, "
            "about as many as the tutorial's 37,500"
        )
    settings = replace(settings, training=replace(t, epochs=epochs))
    writable_folder(settings.output.output_dir)
    run = Experiment(settings, dataset, _run_folder(settings), fell_back, epochs)

    optimizer = training.optimiser(t.optimizer, t.learning_rate)
    cost, state, key = _start(run, optimizer)
    metrics = run.folder / "metrics.jsonl"
    began = time.perf_counter()
    with checkpoints.Checkpoints(run.folder / "checkpoints") as saved:
        start = 0
        if settings.output.resume and (found := saved.restore(state)):
            start, state = found
            print(f"going on after epoch {start} of {epochs}")
        checkpoints.rewind_metrics(metrics, start)
        if settings.output.animate and start == 0:
            _draw_frames(run, 0, state)
        reports = training.fit(
            cost,
            state,
            dataset.train.images,
            key,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=t.batch_size,
            shuffle=t.shuffle,
            start=start,
        )
        with command.Progress(epochs, start) as progress, command.interruptible() as stop_asked:
            for report in reports:
                state = _after_epoch(run, report, saved, metrics, progress, updates)
                if stop_asked() and report.epoch < epochs:
                    saved.save(report.epoch, state, now=True)
                    again = f"{PROG} --resume --run-dir {run.folder}"
                    print(f"stopped after epoch {report.epoch}; go on with:  {again}")
                    return 130
        saved.save(epochs, state, now=True)
    trained = time.perf_counter() - began
    _finish(run, jax.device_get(state.params), metrics, trained, (epochs - start) * updates)
    return 0


def _run_folder(settings: Config) -> Path:
    """The run directory, with its configuration in it."""
    asked = settings.output.run_dir
    if asked is None:
        now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        names = (
            f"runs/{now}{more}" for more in itertools.chain([""], map("-{}".format, range(2, 99)))
        )
        asked = next(name for name in names if not Path(name).exists())
    folder = Path(asked)
    if (folder / "config.json").exists() and not settings.output.resume:
        raise InputError(
            f"--run-dir: {folder} holds a run already", do="pass --resume, or choose another folder"
        )
    writable_folder(folder)
    write_whole(folder / "config.json", json.dumps(config.to_json(settings), indent=2) + "\n")
    return folder


def _start(run: Experiment, optimizer: Any) -> tuple[Any, "State", Any]:
    """The cost, the first state and the key; stacked, if there are several members."""
    import jax
    import jax.numpy as jnp

    from dae_jax import autoencoder, training

    s = run.settings
    fixed = partial(
        autoencoder.denoising_cost,
        noise=s.corruption.noise,
        objective=s.training.cost,
        decoder=s.model.decoder,
    )
    scale = jnp.asarray(s.data.pixel_scale, float)
    n_visible = run.dataset.train.images.shape[1]

    def begin(level: float, seed: int) -> tuple[Any, "State", Any]:
        key = jax.random.key(seed)
        cost = jax.tree_util.Partial(fixed, level=jnp.asarray(level, float), pixel_scale=scale)
        first = (
            (autoencoder.init_tutorial, seed)
            if s.model.init == "tutorial"
            else (autoencoder.init, jax.random.fold_in(key, 0))
        )
        params = first[0](first[1], n_visible, s.model.n_hidden, tied=s.model.tied)
        return cost, training.start_state(params, optimizer), key

    members = [begin(level, seed) for level, seed in s.members]
    return members[0] if len(members) == 1 else training.stack(members)


def _after_epoch(
    run: Experiment, report: "Report", saved: Any, metrics: Path, progress: Any, updates: int
) -> "State":
    """Metrics, frames, checkpoint and progress of one epoch; returns its state."""
    from dae_jax import checkpoints

    costs = report.cost.reshape(-1).tolist()
    if not report.finite:
        kept = saved.latest()
        raise InputError(
            f"the cost turned {report.cost} in epoch {report.epoch}",
            do=f"lower --learning-rate (it is {run.settings.training.learning_rate:g}); "
            + (f"the checkpoint of epoch {kept} is kept" if kept else "no checkpoint was due yet"),
        )
    mean = sum(costs) / len(costs)
    each = {} if len(costs) == 1 else {"costs": dict(zip(run.names, costs, strict=True))}
    checkpoints.append_metrics(
        metrics, epoch=report.epoch, cost=mean, seconds=report.seconds, **each
    )
    if run.settings.output.animate and report.epoch % max(1, run.epochs // 60) == 0:
        _draw_frames(run, report.epoch, report.state)
    saved.save(report.epoch, report.state)
    images = updates * run.settings.training.batch_size * len(costs)
    left = (run.epochs - report.epoch) * report.seconds
    progress.tell(report.epoch, " ".join(f"{c:.4f}" for c in costs), images / report.seconds, left)
    return report.state


def _params_of(run: Experiment, params: Any, i: int) -> "AnyParams":
    from dae_jax import training

    return params if len(run.names) == 1 else training.member(params, i)


def _draw_frames(run: Experiment, epoch: int, state: "State") -> None:
    """A picture of the filters for the animation; on disk, so that a resumed run has them all."""
    from dae_jax import figures

    for i in range(len(run.names)):
        W = _params_of(run, state.params, i).W
        figures.save_png(
            run.member_folder(i) / "frames" / f"epoch_{epoch:05d}.png",
            figures.filter_sheet(W, run.dataset.image_shape),
            {},
        )


def _finish(run: Experiment, params: Any, metrics: Path, seconds: float, updates: int) -> None:
    """Draw, measure, record and say what came of it."""
    import numpy as np

    from dae_jax import checkpoints

    rows = checkpoints.read_metrics(metrics)
    last = rows[-1]
    images = updates * run.settings.training.batch_size * len(run.names)
    throughput = {
        "seconds": round(seconds, 3),
        "images_per_second": round(images / max(seconds, 1e-9)),
    }
    results = []
    for i, name in enumerate(run.names):
        folder = run.member_folder(i)
        model = _params_of(run, params, i)
        cost = last.get("costs", {}).get(name, last["cost"])
        level, seed = run.settings.members[i]
        result: dict[str, Any] = {
            "corruption": level,
            "seed": seed,
            "epochs": run.epochs,
            "cost": cost,
            **_measure(run, model),
            "data": {
                "name": run.dataset.name,
                "source": run.dataset.source,
                "train_images": len(run.dataset.train.images),
                "instead_of_mnist": run.fell_back,
            },
            "figures": [str(path) for path in _draw(run, model, i)],
            **throughput,
        }
        checkpoints.save_params(folder / "params.safetensors", model, {"level": str(level)})
        if len(run.names) > 1:
            own = [row | {"cost": row["costs"][name]} for row in rows]
            lines = [{key: row[key] for key in ("epoch", "cost", "seconds")} for row in own]
            write_whole(folder / "metrics.jsonl", "".join(json.dumps(x) + "\n" for x in lines))
        write_whole(folder / "results.json", json.dumps(result, indent=2) + "\n")
        results.append(result)
        print(f"{result['figures'][0]}  {_numbers(result)}")
    if len(run.settings.corruption.corruption) > 1:
        _draw_comparison(run, params)
    if run.settings.training.seeds > 1:
        for level in run.settings.corruption.corruption:
            costs = [r["cost"] for r in results if r["corruption"] == level]
            spread = np.std(costs, ddof=1)
            print(
                f"corruption {level:g}: cost {np.mean(costs):.4f} mean, {spread:.4f} standard "
                f"deviation, of {len(costs)} seeds"
            )
    if len(run.names) > 1:
        write_whole(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
    costs = " ".join(f"{result['cost']:.4f}" for result in results)
    print(
        f"cost {costs} after {run.epochs} epochs on {run.dataset.name}; {updates:,} updates in "
        f"{seconds:.1f} s, {throughput['images_per_second']:,} images/s; run {run.folder}"
    )


def _measure(run: Experiment, model: "AnyParams") -> dict[str, Any]:
    """The numbers beside the figure; of clean validation images, or training ones if there are none."""
    import numpy as np

    from dae_jax import autoencoder, measures

    shape = run.dataset.image_shape
    found: dict[str, Any] = {}
    if shape is not None:
        local = measures.locality(model.W, shape)
        found["locality"] = float(np.median(local))
        found["local_filters"] = float((local > 0.5).mean())
    held_out = run.dataset.valid.images
    images = held_out if len(held_out) else run.dataset.train.images
    x = autoencoder.pixels(np.asarray(images[:10_000]), run.settings.data.pixel_scale)
    found["dead_units"] = float(measures.dead(autoencoder.encode(model, x)).mean())
    if len(held_out):
        cost = autoencoder.cost(model, x, x, run.settings.training.cost, run.settings.model.decoder)
        found["valid_cost_uncorrupted"] = float(cost)
    return found


def _numbers(result: dict[str, Any]) -> str:
    told = [f"{result['dead_units']:.1%} of the units dead"]
    if "locality" in result:
        local = f"{result['local_filters']:.0%} of the filters local"
        told.insert(0, f"{local} (median locality {result['locality']:.2f})")
    return ", ".join(told)


def _draw(run: Experiment, model: "AnyParams", i: int) -> list[Path]:
    """The pictures of one member: its filters, its reconstructions, perhaps their making."""
    import jax
    import numpy as np

    from dae_jax import autoencoder, corruption, figures

    shape = run.dataset.image_shape
    level, seed = run.settings.members[i]
    about = run.about | {"level": level, "seed": seed}
    drawn = [
        figures.save_png(run.figure("filters", i), figures.filter_sheet(model.W, shape), about)
    ]
    splits = (run.dataset.test, run.dataset.valid, run.dataset.train)
    images = next(split.images for split in splits if len(split.images))[:20]
    x = autoencoder.pixels(np.asarray(images), run.settings.data.pixel_scale)
    noise = corruption.NOISES[run.settings.corruption.noise]
    x_tilde = noise(jax.random.key(seed), x, level)
    code = autoencoder.encode(model, x_tilde)
    linear = run.settings.model.decoder == "linear"
    z = (autoencoder.decode_logits if linear else autoencoder.decode)(model, code)
    sheet = figures.contact_sheet(x, x_tilde, z, shape)
    drawn.append(figures.save_png(run.figure("reconstructions", i), sheet, about))
    if run.settings.output.animate:
        frames = sorted((run.member_folder(i) / "frames").glob("epoch_*.png"))
        drawn.append(figures.save_gif(run.figure("filters", i, "gif"), frames))
    return drawn


def _draw_comparison(run: Experiment, params: Any) -> None:
    """The same units of the first seed at every level, a column a level."""
    from dae_jax import figures

    s = run.settings
    first = [i for i, (_, seed) in enumerate(s.members) if seed == s.training.seed]
    sheet = figures.comparison_sheet(
        [_params_of(run, params, i).W for i in first], run.dataset.image_shape
    )
    levels = "_".join(config.percent(level) for level in s.corruption.corruption)
    suffix = config.figure_suffix(s, run.dataset.name, s.training.seed)
    path = Path(s.output.output_dir) / f"comparison_corruption_{levels}{suffix}.png"
    figures.save_png(path, sheet, run.about)
    print(f"{path}  the same units, a column a level: {levels.replace('_', ' ')} %")


def cli() -> int:
    """The console script ``dae-jax``."""
    return command.run(main)


if __name__ == "__main__":
    sys.exit(cli())
