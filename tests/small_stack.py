"""The small stack that the tests of ``pretrain`` train: 64-12-8, on noisy 8 x 8 images."""

import contextlib
import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
import pytest

from helpers import files, read_json

SEED = 89677
LEVELS, BATCH = (0.2, 0.3), 16
SHARE = ("--valid-fraction", "0.2")
STACK = (
    *("--hidden", "12", "8", "--corruption", "0.2", "0.3"),
    *("--pretrain-epochs", "3", "--batch-size", str(BATCH)),
    *("--finetune-epochs", "6", "--finetune-batch-size", str(BATCH)),
    *("--finetune-learning-rate", "0.5"),
)
FLAGS = ("--data", "small.npz", *SHARE, *STACK)
ONE_LAYER = ("--hidden", "12", "--corruption", "0.2")
UNTRAINED = (*ONE_LAYER, "--pretrain-epochs", "0")  # if only fine-tuning is of interest


def write_data(
    name: str = "small.npz",
    n: int = 110,
    labels: tuple[Any, ...] = (0, 1, 2),
    shape: tuple[int, ...] = (8, 8),
) -> None:
    """Write noisy copies of one pattern per class, as bytes."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, len(labels), n)
    patterns = rng.integers(0, 256, (len(labels), *shape))
    noise = rng.integers(0, 256, (n, *shape))
    images = np.where(rng.random(noise.shape) < 0.35, patterns[classes], noise).astype(np.uint8)
    np.savez(name, x=images, y=np.array(labels)[classes])


def trained(tmp_path_factory: pytest.TempPathFactory, *flags: str) -> SimpleNamespace:
    """Train a run that several tests look at.

    Returns:
        Its folder (`run`), the folder of its data (`data`), what it printed (`out`), and the data
        and keywords of each call of `training.fit` (`fits`).
    """
    from dae_jax import console, pretrain, training

    folder, fits, printed = tmp_path_factory.mktemp("run"), [], io.StringIO()
    real = training.fit

    def spy(cost: Any, state: Any, data: Any, key: Any, **how: Any) -> Any:
        fits.append(SimpleNamespace(data=jax.tree.map(np.array, data), **how))
        return real(cost, state, data, key, **how)

    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        patch.chdir(folder)
        patch.setattr(training, "fit", spy)
        write_data()
        assert console.run(pretrain.main, [*FLAGS, "--run-dir", "r", *flags]) == 0
    return SimpleNamespace(run=folder / "r", fits=fits, out=printed.getvalue(), data=folder)


def metrics(stage: str, folder: str | Path = "r") -> list[dict[str, Any]]:
    """The metrics of a stage, without the seconds, which differ from run to run."""
    from dae_jax.runs import checkpoints

    rows = checkpoints.read_metrics(Path(folder, stage, "metrics.jsonl"))
    assert all(row.pop("seconds") > 0 for row in rows)
    return rows


def assert_same_run(one: str | Path, other: str | Path) -> None:
    """Check that two runs are the same: models to the bit, metrics but for the seconds."""
    one, other = Path(one), Path(other)
    models = {name for name in files(one) if name.endswith(".safetensors")}
    assert models == {name for name in files(other) if name.endswith(".safetensors")}
    for name in models:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for stage in ("layer_1", "layer_2", "finetune"):
        assert metrics(stage, one) == metrics(stage, other)
    for path in other.rglob("results.json"):
        # most tests draw nothing
        mine, others = read_json(one / path.relative_to(other)), read_json(path)
        assert mine | {"figures": []} == others | {"figures": []}
