"""`--compare`: fair draws, rates within their grid, paired numbers, resuming, refused settings."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

from dae_jax import datasets, pretrain, training
from dae_jax.evaluation import mean_interval
from dae_jax.runs import arms, comparison, comparison_report
from dae_jax.runs.arms import Task, Trial
from dae_jax.runs.comparison_report import Result
from dae_jax.settings import ladder
from dae_jax.settings.pretrain import ARMS
from helpers import assert_one_line, read_json

SMALL = ("--hidden", "12", "8", "--corruption", "0.1", "--pretrain-epochs", "2")
SMALL += ("--cap", "3", "--batch-size", "10", "--finetune-batch-size", "10")


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


# ---- paired numbers --------------------------------------------------------------------------

TRUTH = np.zeros(40, int)


def result(arm, validation, *n_wrong, labels=100, last=False):
    """A result whose seeds misclassify so many of the 40 test images, the first or the last."""
    predicted = np.zeros((len(n_wrong), 40), int)
    for own, n in zip(predicted, n_wrong, strict=True):
        own[40 - n if last else 0 : None if last else n] = 1
    errors = [n / 40 for n in n_wrong]
    row = {"labels": labels, "arm": arm, "validation": validation, "test_errors": errors}
    return Result(row, predicted)


def test_differences_are_paired_by_seed():
    pretrained = result("pretrained", "all", 4, 8, 12)
    others = [result("random", "all", 6, 10, 13), result("frozen", "all", 4, 8, 12)]
    random, frozen = comparison_report.differences([pretrained, *others], TRUTH)
    assert (random["arm"], frozen["arm"]) == ("random", "frozen")
    paired = stats.ttest_rel(others[0].row["test_errors"], pretrained.row["test_errors"])
    np.testing.assert_allclose(random["interval"], paired.confidence_interval(0.95), rtol=1e-9)
    assert frozen["mean"] == 0 and frozen["interval"] == [0, 0]


def test_each_way_to_choose_has_its_own_pairs_and_unvalidated_arms_are_in_both():
    results = [
        *(result("pretrained", by, 4, 8) for by in ("all", "few")),
        *(result("random", by, 5, 9) for by in ("all", "few")),
        result("svm", "none", 1, 2),
        result("random", "all", 5, 9, labels="all"),
    ]
    pairs = [(d["validation"], d["arm"]) for d in comparison_report.differences(results, TRUTH)]
    assert pairs == [("all", "random"), ("all", "svm"), ("few", "random"), ("few", "svm")]


def test_mcnemar_counts_the_seeds_for_and_against_pretraining():
    ours = result("pretrained", "all", 1, 10, 2)
    other = result("random", "all", 12, 1, 2, last=True)  # of other images
    (gain,) = comparison_report.differences([ours, other], TRUTH)
    assert [(test["b"], test["c"]) for test in gain["mcnemar"]] == [(12, 1), (1, 10), (2, 2)]
    expected = [stats.binomtest(b, n).pvalue for b, n in ((12, 13), (1, 11), (2, 4))]
    np.testing.assert_allclose([test["p"] for test in gain["mcnemar"]], expected)
    assert (gain["seeds_for"], gain["seeds_against"]) == (1, 1)


# ---- rates -----------------------------------------------------------------------------------


@pytest.fixture
def searched(monkeypatch):
    """Search with given validation errors, as functions of the rate, one per validation set."""

    def search(errors, rates):
        tried = []

        def train(task, name, rate):
            tried.append(rate)
            valid = np.array([[error(rate)] * 2 for error in errors])
            n = len(errors)
            return Trial(valid, np.ones((n, 2)), np.ones(n, bool), np.zeros((n, 2, 5)))

        monkeypatch.setattr(arms, "train", train)
        trials = comparison.search(Task(None, 9, {}), "random", rates)
        return tried, trials

    return search


def at_best(best):
    return lambda rate: abs(np.log(rate / best))


def test_no_rate_is_added_if_the_best_is_inside(searched):
    tried, trials = searched([at_best(0.3)], (1.0, 0.1, 0.3))
    assert tried == [0.1, 0.3, 1.0] == list(trials)


@pytest.mark.parametrize(
    ("best", "added"),
    [(0.02, [0.03, 0.01]), (25.0, [3.0, 10.0, 30.0, 100.0]), (0.1, [0.03])],
)
def test_rates_are_added_until_the_best_is_inside(searched, best, added):
    tried, trials = searched([at_best(best)], (0.1, 0.3, 1.0))
    assert tried == [0.1, 0.3, 1.0, *added] and list(trials) == sorted(tried)


def test_rates_are_added_for_each_validation_set(searched):
    tried, _ = searched([at_best(0.05), at_best(2.0)], (0.1, 0.3, 1.0))
    assert tried == [0.1, 0.3, 1.0, 0.03, 3.0, 0.01, 10.0]


def test_of_equal_rates_the_smallest_is_best_and_rates_are_added_within_two_decades(searched):
    tried, _ = searched([lambda rate: 0.5], (0.1, 0.3))
    assert tried == [0.1, 0.3, 0.03, 0.01, 0.003, 0.001]


def test_a_single_rate_is_bracketed(searched):
    tried, _ = searched([at_best(0.5)], (0.5,))
    assert tried == [0.5, 0.1, 1.0]


def test_the_choice_is_that_of_the_lowest_mean_error(searched):
    _, trials = searched([at_best(0.3), at_best(1.0)], (0.1, 0.3, 1.0, 3.0))
    for i, best in enumerate((0.3, 1.0)):
        numbers, _ = comparison.chosen(trials, i, 10)
        assert (numbers["rate"], numbers["at_border"]) == (best, False)
        assert numbers["rates"] == [0.1, 0.3, 1.0, 3.0]
    assert comparison.chosen({1.0: trials[1.0]}, 0, 10)[0]["at_border"]


def test_a_training_that_the_cap_ended_and_a_rate_at_the_border_are_warned_of():
    row = {"labels": 9, "arm": "random", "validation": "all", "validation_images": 1000}
    fine = row | {"ended": True, "at_border": False}
    unvalidated = {"labels": 9, "arm": "svm", "validation": "none"}
    assert comparison_report.warnings([fine, unvalidated]) == []
    (cap,) = comparison_report.warnings([fine | {"ended": False}])
    assert "9 labels, random, chosen by 1,000 images" in cap and "larger --cap" in cap
    (border,) = comparison_report.warnings([fine | {"at_border": True, "rate": 3, "rates": [1, 3]}])
    assert "the best rate, 3, is the last one that was tried of 1 3" in border


def test_the_figure_names_every_arm_in_words():
    rows = [{"labels": 9, "arm": arm, "validation": "none", "test_errors": [0.1]} for arm in ARMS]
    report = {"rows": rows, "validation_images": 0, "data": "small", "seeds": [1]}
    (axes,) = comparison_report.figure(report).axes
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert shown == [arms.ARMS[arm].title for arm in ARMS]
    assert len(set(shown)) == len(ARMS) and not any("-" in name for name in shown)


# ---- arms ------------------------------------------------------------------------------------


def test_every_name_of_the_flag_is_an_arm():
    assert tuple(arms.ARMS) == ARMS


def test_rectifiers_begin_with_weights_of_variance_two_over_inputs():
    layers = arms.rectifiers([0, 1], [400, 300, 200])
    assert [layer.W.shape for layer in layers] == [(2, 400, 300), (2, 300, 200)]
    for layer, n in zip(layers, (400, 300), strict=True):
        W = np.asarray(layer.W)
        np.testing.assert_allclose(W.std(axis=(1, 2)), np.sqrt(2 / n), rtol=0.02)
        assert np.abs(W).max() > 3.5 * np.sqrt(2 / n)  # not truncated
        assert not np.any(layer.b) and not np.array_equal(W[0], W[1])


@pytest.fixture
def adam():
    """Optax's Adam raises a float to an integer power, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


def interrupt_after(monkeypatch, epochs):
    """Raise KeyboardInterrupt, as a second Ctrl-C does, after so many epochs in all."""
    real, left = training.fit, [epochs]

    def interrupted(*args, **how):
        for report in real(*args, **how):
            yield report
            left[0] -= 1
            if not left[0]:
                raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", interrupted)


@pytest.mark.slow
def test_a_comparison_leaves_its_tables_its_report_and_its_plot(compare, call, monkeypatch, adam):
    monkeypatch.setattr(ladder, "UPDATES", 3)
    rates = ("--rates", "0.1", "0.5", "--adam-rates", "0.001")
    monkeypatch.setattr(comparison, "FURTHEST", 1)
    status, out, err = compare("--labels", "9", "all", "--seeds", "2", *rates)
    assert (status, err) == (0, "")
    assert "rectifiers-shifted, ladder-shifted left out" in out
    report = read_json("r/compare.json")
    assert report["command"].startswith("python -m dae_jax.pretrain --data small.npz --compare")
    trained = [name for name in ARMS if isinstance(arms.ARMS[name], arms.Network)]
    trained.remove("rectifiers-shifted")
    expected = {(9, arm, by) for arm in trained for by in ("all", "few")}
    expected |= {("all", arm, "all") for arm in trained}
    others = {"ladder", *(name for name in ARMS if isinstance(arms.ARMS[name], arms.Baseline))}
    expected |= {(n, arm, "none") for n in (9, "all") for arm in others}
    rows = {(row["labels"], row["arm"], row["validation"]): row for row in report["rows"]}
    assert set(rows) == expected and len(report["rows"]) == len(expected)
    truth = datasets.load("small.npz").test.labels
    for (labels, arm, by), row in rows.items():
        folder = Path(f"r/compare/labels_{labels}/{arm}/by_{by}")
        assert read_json(folder / "row.json") == row
        predicted = np.load(folder / "predicted.npy", allow_pickle=False)
        assert predicted.shape == (2, 20)
        assert row["test_errors"] == np.mean(predicted != truth, axis=1).tolist()
        assert row["test_mean"] == np.mean(row["test_errors"])
        if by == "none":
            continue
        assert row["validation_images"] == (9 if by == "few" else 20)
        # the rate was chosen on validation, and the numbers are the chosen one's
        means = [np.mean(errors) for errors in row["valid_errors_of_rates"]]
        assert row["rate"] == row["rates"][int(np.argmin(means))]
        assert row["valid_errors"] == row["valid_errors_of_rates"][int(np.argmin(means))]
    assert len(report["differences"]) == 2 * 9 + 9
    assert any("--cap ended the training" in warning for warning in report["warnings"])
    assert all(warning in out for warning in report["warnings"])
    assert Path("r/compare.png").stat().st_size > 10_000
    assert not list(Path("r/compare").rglob("checkpoints"))
    # nothing is trained again
    interrupt_after(monkeypatch, 1)
    assert call(pretrain.main, "--resume", "--run-dir", "r").status == 0
    assert read_json("r/compare.json")["rows"] == report["rows"]


@pytest.mark.slow
def test_an_interrupted_comparison_resumes_to_the_same_bits(compare, call, monkeypatch):
    flags = ("--labels", "9", "--seeds", "2", "--rates", "0.1", "0.5", "--arms", "random", "frozen")
    monkeypatch.setattr(comparison, "FURTHEST", 1)
    assert compare(*flags, "--run-dir", "whole").status == 0
    with monkeypatch.context() as patch:
        interrupt_after(patch, 2 + 2 + 3 + 2)  # two layers; the first rate; within the second
        assert compare(*flags).status == 130
    status, out, _ = call(pretrain.main, "--resume", "--run-dir", "r")
    assert status == 0 and "9 labels, random, rate 0.5: resuming after epoch" in out
    one, other = (read_json(f"{name}/compare.json") for name in ("r", "whole"))
    assert one["rows"] == other["rows"] and one["differences"] == other["differences"]
    for path in Path("whole").rglob("predicted.npy"):
        assert Path("r", *path.parts[1:]).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_a_rate_that_diverges_counts_as_an_error_of_one(compare, monkeypatch):
    monkeypatch.setattr(comparison, "FURTHEST", 1)
    rates = ("--rates", "0.5", "1e38", "--arms", "random")
    status, out, _ = compare("--labels", "9", "--seeds", "2", *rates)
    assert status == 0 and "9 labels, random, rate 1e+38: diverged" in out
    row = read_json("r/compare.json")["rows"][0]
    assert row["rate"] == 0.5 and row["valid_errors_of_rates"][1] == [1.0, 1.0]


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut off", "of other images"])
def test_results_that_cannot_be_read_are_refused_and_trained_again(
    compare, call, monkeypatch, damage
):
    monkeypatch.setattr(comparison, "FURTHEST", 1)
    compare("--labels", "9", "--seeds", "2", "--rates", "0.5", "--arms", "random", "svm")
    rows = read_json("r/compare.json")["rows"]
    path = Path("r/compare/labels_9/random/rate_0.5/trial.npz")
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    else:
        with np.load(path) as arrays:
            trial = dict(arrays)
        np.savez(path, **trial | {"predicted": trial["predicted"][:, :, :5]})
    status, _, err = call(pretrain.main, "--resume", "--run-dir", "r")
    assert status == 2
    assert_one_line(err, "trial.npz", "remove it, and resume")
    path.unlink()
    assert call(pretrain.main, "--resume", "--run-dir", "r").status == 0
    assert read_json("r/compare.json")["rows"] == rows


@pytest.mark.slow
def test_few_labels_are_repeated_so_that_an_epoch_has_updates_enough(compare, monkeypatch):
    monkeypatch.setattr(comparison, "FURTHEST", 1)
    flags = ("--labels", "9", "--seeds", "2", "--rates", "0.1", "--arms", "random")
    compare("--hidden", "12", *flags)
    (metrics,) = Path("r/compare").glob("labels_9/random/*/metrics.jsonl")
    costs = [json.loads(line)["cost"] for line in metrics.read_text().splitlines()]
    # 200 updates per epoch of an easy task; one pass over 9 images would leave the cost at log 3
    assert costs[-1] < 0.5 < np.log(3)
    # and nothing was pretrained for an arm that does not need it
    assert not Path("r/layer_1").exists()


# ---- refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--labels 2 --seeds 2", "--labels: expected 3 (one for each class) to 160"),
        ("--labels 161 --seeds 2", "--labels: expected 3 (one for each class) to 160"),
        ("--labels 0 --seeds 2", "--labels: expected a whole number of at least 1"),
        ("--labels some --seeds 2", "labels"),
        ("--labels 9", "--seeds: expected at least 2"),
        ("--labels 9 --seeds 2 --rates 0", "--rates: expected a number above 0"),
        ("--labels 9 --seeds 2 --adam-rates -1", "--adam-rates: expected a number above 0"),
        ("--labels 9 --seeds 2 --cap 0", "--cap: expected a whole number of at least 1"),
        ("--labels 9 --seeds 2 --arms forest", "arms"),
        ("--labels 9 --seeds 2 --arms ladder-shifted", "--arms: expected one that does not shift"),
        ("--labels 9 --seeds 2 --valid-fraction 0", "--compare: expected labelled images"),
    ],
)
def test_impossible_comparisons_are_refused_before_anything_is_written(compare, flags, words):
    status, _, err = compare(*flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert not Path("r").exists()
