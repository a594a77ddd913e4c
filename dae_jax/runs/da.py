"""What came of a run: its pictures, the numbers beside them, its records and its last words."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dae_jax import __version__, autoencoder, corruption, figures
from dae_jax import evaluation as measures
from dae_jax.autoencoder import AnyParams
from dae_jax.datasets import Dataset
from dae_jax.files import write_whole
from dae_jax.runs import checkpoints
from dae_jax.runs.stage import Watch
from dae_jax.settings import train as config
from dae_jax.settings.train import Config
from dae_jax.training import Report, member


@dataclass(frozen=True)
class Run:
    """One call of the command: one model, or the members of a sweep over levels and seeds."""

    settings: Config  # with the number of epochs filled in
    dataset: Dataset
    instead_of_mnist: bool
    folder: Path

    @property
    def epochs(self) -> int:
        """How many epochs the whole run has."""
        assert self.settings.training.epochs is not None
        return self.settings.training.epochs

    @property
    def updates(self) -> int:
        """How many updates an epoch makes; the remainder of the images is dropped."""
        return len(self.dataset.train.images) // self.settings.training.batch_size

    @property
    def names(self) -> list[str]:
        """What the members are called in the run directory."""
        several = self.settings.training.seeds > 1
        return [
            f"corruption_{config.percent(level)}" + (f"_seed_{seed}" if several else "")
            for level, seed in self.settings.members
        ]

    def models(self, params: Any) -> list[AnyParams]:
        """The members' parameters, out of a state's."""
        n = len(self.names)
        return [params] if n == 1 else [member(params, i) for i in range(n)]

    def member_folder(self, i: int) -> Path:
        """Where a member's files go: the run directory itself, if there is only one."""
        return self.folder if len(self.names) == 1 else self.folder / self.names[i]

    def figure(self, kind: str, levels: Sequence[float], seed: int, ending: str = "png") -> Path:
        """The path of a figure, which says what is not as in the tutorial."""
        n_images, batch_size = len(self.dataset.train.images), self.settings.training.batch_size
        usual = config.default_epochs(self.dataset.name, n_images, batch_size)
        suffix = config.figure_suffix(self.settings, self.dataset.name, seed, usual)
        level = "_".join(config.percent(level) for level in levels)
        return Path(self.settings.output.output_dir) / f"{kind}_corruption_{level}{suffix}.{ending}"

    @property
    def about(self) -> dict[str, Any]:
        """What every figure carries in its metadata."""
        return {
            "dae_jax": __version__,
            "dataset": self.dataset.name,
            **config.to_json(self.settings),
        }


class Frames(Watch):
    """Draws the filters for the animation; on disk, so that a resumed run has them all."""

    def __init__(self, run: Run, params: Any):
        self._run = run
        self._every = max(1, run.epochs // 60)
        self._draw(0, params)

    def after(self, report: Report) -> dict[str, Any]:
        """Draw after every epoch, or after as many as give about sixty pictures."""
        if report.epoch % self._every == 0:
            self._draw(report.epoch, report.state.params)
        return {}

    def _draw(self, epoch: int, params: Any) -> None:
        for i, model in enumerate(self._run.models(params)):
            path = self._run.member_folder(i) / "frames" / f"epoch_{epoch:05d}.png"
            figures.save_png(path, figures.filter_sheet(model.W, self._run.dataset.image_shape), {})


def finish(run: Run, params: Any, rows: list[dict[str, Any]]) -> None:
    """Draw, measure, record and say what came of it.

    Args:
        run: The run.
        params: The final parameters, of all members.
        rows: The run's metrics, of all epochs.
    """
    seconds = sum(row["seconds"] for row in rows)
    updates = run.epochs * run.updates
    images = updates * run.settings.training.batch_size * len(run.names)
    speed = {
        "seconds": round(seconds, 3),
        "images_per_second": round(images / seconds),
        "device": jax.devices()[0].device_kind,
    }
    results = []
    for i, model in enumerate(run.models(params)):
        level, seed = run.settings.members[i]
        result = {
            "corruption": level,
            "seed": seed,
            "epochs": run.epochs,
            "cost": rows[-1]["costs"][i] if len(run.names) > 1 else rows[-1]["cost"],
            **measure(run, model),
            "data": {
                "name": run.dataset.name,
                "source": run.dataset.source,
                "train_images": len(run.dataset.train.images),
                "instead_of_mnist": run.instead_of_mnist,
            },
            "figures": [str(path) for path in draw(run, model, i)],
            **speed,
        }
        record(run, model, i, rows, result)
        print(f"{result['figures'][0]}  {_in_words(result)}")
        results.append(result)
    if len(results) > 1:
        write_whole(run.folder / "results.json", json.dumps(results, indent=2) + "\n")
    if len(run.settings.corruption.corruption) > 1:
        print(f"{draw_comparison(run, params)}  the same units, a column a level")
    if run.settings.training.seeds > 1:
        _print_spread(results)
    costs = " ".join(f"{result['cost']:#.6g}" for result in results)
    print(
        f"cost {costs} after {run.epochs} epochs on {run.dataset.name}; {updates:,} updates "
        f"in {seconds:.1f} s, {speed['images_per_second']:,} images/s; run {run.folder}"
    )


def measure(run: Run, model: AnyParams) -> dict[str, float]:
    """The numbers beside the figure.

    Returns:
        ``dead_units`` and ``valid_cost_uncorrupted`` of up to 10,000 clean validation images (of
        training images, where none are held out); ``locality``, the median over the filters, and
        ``local_filters``, the share of them above one half. See `measures`.
    """
    found: dict[str, float] = {}
    if run.dataset.image_shape is not None:
        local = measures.locality(model.W, run.dataset.image_shape)
        found |= {"locality": float(np.median(local)), "local_filters": float((local > 0.5).mean())}
    held_out = run.dataset.valid.images
    images = held_out if len(held_out) else run.dataset.train.images
    x = autoencoder.pixels(jnp.asarray(images[:10_000]), run.settings.data.pixel_scale)
    found["dead_units"] = float(measures.dead(autoencoder.encode(model, x)).mean())
    if len(held_out):
        how = run.settings.training.cost, run.settings.model.decoder
        found["valid_cost_uncorrupted"] = float(autoencoder.cost(model, x, x, *how))
    return found


def draw(run: Run, model: AnyParams, i: int) -> list[Path]:
    """The pictures of one member: its filters, its reconstructions, perhaps their making."""
    shape = run.dataset.image_shape
    level, seed = run.settings.members[i]
    about = run.about | {"level": level, "seed": seed}
    sheet = figures.filter_sheet(model.W, shape)
    drawn = [figures.save_png(run.figure("filters", [level], seed), sheet, about)]

    splits = (run.dataset.test, run.dataset.valid, run.dataset.train)
    images = next(split.images for split in splits if len(split.images))[:20]
    x = autoencoder.pixels(jnp.asarray(images), run.settings.data.pixel_scale)
    noise = corruption.NOISES[run.settings.corruption.noise]
    x_tilde = noise(jax.random.key(seed), x, level)
    linear = run.settings.model.decoder == "linear"
    decode = autoencoder.decode_logits if linear else autoencoder.decode
    z = decode(model, autoencoder.encode(model, x_tilde))
    sheet = figures.contact_sheet(x, x_tilde, z, shape)
    drawn.append(figures.save_png(run.figure("reconstructions", [level], seed), sheet, about))

    if run.settings.output.animate:
        frames = sorted((run.member_folder(i) / "frames").glob("epoch_*.png"))
        drawn.append(figures.save_gif(run.figure("filters", [level], seed, "gif"), frames))
    return drawn


def draw_comparison(run: Run, params: Any) -> Path:
    """The same units of the first seed at every level, a column a level."""
    settings = run.settings
    first = settings.training.seed
    pairs = zip(run.models(params), settings.members, strict=True)
    weights = [model.W for model, (_, seed) in pairs if seed == first]
    path = run.figure("comparison", settings.corruption.corruption, first)
    return figures.save_png(
        path, figures.comparison_sheet(weights, run.dataset.image_shape), run.about
    )


def record(
    run: Run, model: AnyParams, i: int, rows: list[dict[str, Any]], result: dict[str, Any]
) -> None:
    """Write a member's parameters, results and, of a sweep, its own share of the metrics."""
    folder = run.member_folder(i)
    about = {name: result[name] for name in ("corruption", "seed", "epochs")}
    checkpoints.save_params(folder / "params.safetensors", model, about)
    write_whole(folder / "results.json", json.dumps(result, indent=2) + "\n")
    if len(run.names) > 1:
        own = [{"epoch": r["epoch"], "cost": r["costs"][i], "seconds": r["seconds"]} for r in rows]
        checkpoints.write_metrics(folder / "metrics.jsonl", own)


def _in_words(result: dict[str, Any]) -> str:
    told = f"{result['dead_units']:.1%} of the units dead"
    if "locality" in result:
        share, median = result["local_filters"], result["locality"]
        told = f"{share:.0%} of the filters local (median locality {median:.2f}), {told}"
    return told


def _print_spread(results: list[dict[str, Any]]) -> None:
    for level in dict.fromkeys(result["corruption"] for result in results):
        costs = [result["cost"] for result in results if result["corruption"] == level]
        print(
            f"corruption {level:g}: cost {np.mean(costs):.4f} mean, "
            f"{np.std(costs, ddof=1):.4f} standard deviation, of {len(costs)} seeds"
        )
