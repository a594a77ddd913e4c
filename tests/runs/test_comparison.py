"""`--compare`: fair draws, paired numbers, one row per network, and errors before training."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dae_jax import pretrain
from dae_jax.evaluation import mean_interval
from dae_jax.figures import plots
from dae_jax.runs import comparison
from helpers import assert_one_line, read_json

SMALL = ("--hidden", "12", "8", "--corruption", "0.1", "--pretrain-epochs", "2")
SMALL += ("--finetune-epochs", "3", "--batch-size", "10", "--finetune-batch-size", "10")


@pytest.fixture
def compare(here, call):
    """Call the command on three classes of noisy 6 x 6 images."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 200)
    x = np.clip(rng.random((3, 36))[y] + rng.normal(0, 0.1, (200, 36)), 0, 1).astype(np.float32)
    np.savez("small.npz", x=x, y=y)
    usual = ("--data", "small.npz", "--compare", "--run-dir", "r", *SMALL)
    return lambda *argv: call(pretrain.main, *usual, *argv)


def test_the_interval_is_that_of_students_t():
    values = [0.031, 0.027, 0.036, 0.030, 0.029]
    mean, half = mean_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    np.testing.assert_allclose([mean - half, mean + half], [low, high], rtol=1e-12)
    assert mean_interval([0.5]) == (0.5, np.inf)


def test_differences_are_paired_by_seed():
    rows = [
        {"labels": 100, "arm": "pretrained", "test_errors": [0.10, 0.20, 0.30]},
        {"labels": 100, "arm": "random", "test_errors": [0.15, 0.26, 0.34]},
        {"labels": 100, "arm": "frozen", "test_errors": [0.10, 0.20, 0.30]},
    ]
    random, frozen = comparison.differences(rows, 100)
    assert (random["arm"], frozen["arm"]) == ("random", "frozen")
    paired = stats.ttest_rel(rows[1]["test_errors"], rows[0]["test_errors"])
    np.testing.assert_allclose(random["interval"], paired.confidence_interval(0.95), rtol=1e-9)
    assert frozen["mean"] == 0 and frozen["interval"] == [0, 0]


def test_a_plot_of_no_errors_at_all_is_drawn_without_a_warning():
    arms = {arm: [(0.0, 0.0), (0.0, 0.0)] for arm in comparison.ARMS}
    (axes,) = plots.comparison(["9", "all"], arms).axes
    assert axes.get_yscale() == "linear"
    arms["random"] = [(0.1, 0.02), (0.0, 0.0)]
    (axes,) = plots.comparison(["9", "all"], arms).axes
    assert axes.get_yscale() == "log"


@pytest.mark.slow
def test_a_comparison_leaves_its_table_its_report_and_its_plot(compare, call):
    status, out, err = compare("--labels", "9", "all", "--seeds", "2", "--rates", "0.1", "0.5")
    assert (status, err) == (0, "")
    report = read_json("r/compare.json")
    assert report["command"].startswith("python -m dae_jax.pretrain --data small.npz --compare")
    settings = [(row["labels"], row["arm"]) for row in report["rows"]]
    assert settings == [(n, arm) for n in (9, "all") for arm in comparison.ARMS]
    for row in report["rows"]:
        # the rate was chosen on validation, and the numbers are the chosen one's
        means = [np.mean(errors) for errors in row["valid_errors_of_rates"]]
        assert row["rate"] == row["rates"][int(np.argmin(means))]
        assert row["valid_errors"] == row["valid_errors_of_rates"][int(np.argmin(means))]
        assert len(row["test_errors"]) == 2 and row["test_mean"] == np.mean(row["test_errors"])
        assert all(round(error * 20, 9).is_integer() for error in row["test_errors"])  # 20 images
        assert f"{row['test_mean']:.2%}" in out
    assert len(report["differences"]) == 4
    assert Path("r/compare.png").stat().st_size > 10_000
    assert not list(Path("r/compare").glob("*/*/checkpoints"))
    # finished rows are not computed again
    rows = {path: path.stat().st_mtime_ns for path in Path("r/compare").glob("*/row.json")}
    assert call(pretrain.main, "--resume", "--run-dir", "r").status == 0
    assert all(path.stat().st_mtime_ns == time for path, time in rows.items())
    assert read_json("r/compare.json")["rows"] == report["rows"]


@pytest.mark.slow
def test_few_labels_are_repeated_so_that_an_epoch_has_updates_enough(compare):
    compare("--hidden", "12", "--labels", "9", "--seeds", "2", "--rates", "0.1")
    (metrics,) = Path("r/compare").glob("labels_9_random/*/metrics.jsonl")
    costs = [json.loads(line)["cost"] for line in metrics.read_text().splitlines()]
    # 200 updates per epoch of an easy task; one pass over 9 images would leave the cost at log 3
    assert costs[-1] < 0.5 < np.log(3)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--labels 2 --seeds 2", "--labels: expected 3 (one for each class) to 160"),
        ("--labels 161 --seeds 2", "--labels: expected 3 (one for each class) to 160"),
        ("--labels 0 --seeds 2", "--labels: expected a whole number of at least 1"),
        ("--labels some --seeds 2", "labels"),
        ("--labels 9", "--seeds: expected at least 2"),
        ("--labels 9 --seeds 2 --rates 0", "--rates: expected a number above 0"),
        ("--labels 9 --seeds 2 --valid-fraction 0", "--compare: expected labelled images"),
    ],
)
def test_impossible_comparisons_are_refused_before_anything_is_written(compare, flags, words):
    status, _, err = compare(*flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert not Path("r").exists()
