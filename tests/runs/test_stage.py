"""One training with or without files: rows, watches, resuming, Ctrl-C, divergence."""

import signal
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import autoencoder, corruption, training
from dae_jax.runs import stage
from dae_jax.runs.checkpoints import read_metrics
from dae_jax.runs.stage import Place, Stage
from dae_jax.settings.shared import Denoising
from dae_jax.training import Watch
from helpers import files, key, refused

V, H = 9, 4
DATA = np.random.default_rng(0).integers(0, 256, (43, V), np.uint8)
HOW = Denoising(0.3, "masking", "cross-entropy", "sigmoid")
COST = stage.denoising_cost(HOW, 255.0)
STAGE = Stage(training.optimiser("sgd", 0.1), epochs=4, batch_size=10)


def begin(seed=1):
    return training.start_state(autoencoder.init_tutorial(seed, V, H), STAGE.optimizer)


def train(how=STAGE, watch=None, cost=COST):
    return stage.train(how, cost, begin(), DATA, jax.random.key(0), watch)


def at(folder, resume=False, **how):
    return replace(STAGE, place=Place("it", folder, resume, "the command"), **how)


def without_seconds(rows):
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one.state, other.state)
    assert without_seconds(one.rows) == without_seconds(other.rows)


@pytest.mark.slow
def test_a_stage_without_files_is_the_loop_of_training(here, capfd):
    trained = train()
    reports = training.fit(
        COST,
        begin(),
        DATA,
        jax.random.key(0),
        optimizer=STAGE.optimizer,
        epochs=4,
        batch_size=10,
    )
    costs = [float(report.cost) for report in reports]
    assert [row["cost"] for row in trained.rows] == costs
    assert [row["epoch"] for row in trained.rows] == [1, 2, 3, 4]
    assert not files(here)
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["epoch", f"{i}/4"] for i in range(1, 5)]


def test_files_change_nothing_and_a_finished_stage_is_not_trained_again(tmp_path, monkeypatch):
    alone, filed = train(), train(at(tmp_path / "s"))
    assert_same(alone, filed)
    assert read_metrics(tmp_path / "s/metrics.jsonl") == filed.rows
    trained = []
    real = training.fit

    def fit(*args, **how):
        for report in real(*args, **how):
            trained.append(report.epoch)
            yield report

    monkeypatch.setattr(training, "fit", fit)
    assert_same(train(at(tmp_path / "s", resume=True)), alone)
    assert not trained


def test_a_shorter_stage_resumes_to_the_longer_one(tmp_path, capfd):
    train(at(tmp_path / "s", epochs=2))
    longer = train(at(tmp_path / "s", resume=True))
    assert "it: resuming after epoch 2 of 4" in capfd.readouterr().out
    assert_same(longer, train())


@pytest.mark.parametrize("left", [0, 2])
def test_damaged_metrics_are_computed_again(tmp_path, capfd, left):
    path = tmp_path / "s/metrics.jsonl"
    whole = train(at(tmp_path / "s"))
    rows = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(rows[:left]) + bytes(100))
    resumed = train(at(tmp_path / "s", resume=True))
    assert f"metrics.jsonl is damaged after epoch {left}" in capfd.readouterr().out
    assert_same(resumed, whole)
    assert without_seconds(read_metrics(path)) == without_seconds(whole.rows)


class Counting(Watch):
    """Counts epochs, in what it keeps, and stops after the second."""

    def __init__(self, last=2):
        self.kept, self.last = np.zeros((), int), last

    def after(self, report):
        self.kept = self.kept + 1
        return {"count": int(self.kept)}

    def done(self, epoch):
        return epoch >= self.last


def test_a_watch_adds_to_the_rows_stops_the_training_and_is_in_the_checkpoint(tmp_path):
    trained = train(at(tmp_path / "s"), Counting())
    assert [row["count"] for row in trained.rows] == [1, 2]
    resumed = Counting()
    assert_same(train(at(tmp_path / "s", resume=True), resumed), trained)
    assert resumed.kept == 2
    longer = Counting(last=3)
    rows = train(at(tmp_path / "s", resume=True), longer).rows
    assert [row["count"] for row in rows] == [1, 2, 3]


class Stops(Watch):
    """Members stop after so many epochs; adds a number for each."""

    def __init__(self, *stops):
        self.stops = np.array(stops)

    def after(self, report):
        return {"epochs": [report.epoch] * len(self.stops)}

    def finished(self, epoch):
        return self.stops <= epoch


def test_finished_members_keep_the_rows_that_they_had_and_resume_to_the_bit(tmp_path):
    def sweep(how, watch=None):
        cost, state = training.sweep([COST] * 2, [begin().params] * 2, STAGE.optimizer)
        keys = jnp.stack([jax.random.key(0)] * 2)
        return stage.train(how, cost, state, DATA, keys, watch)

    whole, plain = sweep(at(tmp_path / "s"), Stops(1, 3)), sweep(STAGE)
    assert [row["epochs"] for row in whole.rows] == [[1, 1], [1, 2], [1, 3]]
    costs = [row["costs"] for row in plain.rows]
    expected = [[costs[0][0], costs[i][1]] for i in range(3)]
    assert [row["costs"] for row in whole.rows] == expected
    assert [row["cost"] for row in whole.rows] == [sum(both) / 2 for both in expected]
    for epochs in (1, 2):
        folder = tmp_path / f"stopped_{epochs}"
        sweep(at(folder, epochs=epochs), Stops(1, 3))
        assert_same(sweep(at(folder, resume=True), Stops(1, 3)), whole)


class CtrlC(Watch):
    """Presses Ctrl-C during an epoch."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after(self, report):
        if report.epoch == self.epoch:
            signal.raise_signal(signal.SIGINT)
        return {}


def test_ctrl_c_ends_the_epoch_writes_a_checkpoint_and_says_how_to_resume(tmp_path, capfd):
    before = signal.getsignal(signal.SIGINT)
    assert train(at(tmp_path / "s"), CtrlC(2)) is None
    assert "stopped after it, epoch 2; resume with:  the command" in capfd.readouterr().out
    assert (tmp_path / "s" / "checkpoints" / "2").is_dir()
    assert signal.getsignal(signal.SIGINT) is before
    assert_same(train(at(tmp_path / "s", resume=True)), train())


def test_ctrl_c_in_the_last_epoch_finishes(tmp_path):
    assert_same(train(at(tmp_path / "s"), CtrlC(4)), train())


def test_ctrl_c_stops_a_stage_without_files_at_once():
    with pytest.raises(KeyboardInterrupt):
        train(watch=CtrlC(2))


def test_divergence_names_the_stage_the_cost_and_what_to_lower(tmp_path):
    def wild(params, batch, key):
        return jnp.sum(params.W) * jnp.float32(np.inf)

    how = at(tmp_path / "s", learning_rate="--rate, which is 9")
    words = ("it training diverged in epoch 1", "the cost is", "lower --rate, which is 9")
    refused(lambda: train(how, cost=jax.tree_util.Partial(wild)), *words)
    with pytest.raises(stage.DivergenceError):
        train(cost=jax.tree_util.Partial(wild))
    assert not (tmp_path / "s" / "metrics.jsonl").read_text()


def test_a_quiet_stage_prints_no_epochs(here, capfd):
    train(replace(STAGE, place=Place("it", quiet=True)))
    assert capfd.readouterr().out == ""
    train(replace(STAGE, place=Place("it")))
    assert "it, epoch 4/4" in capfd.readouterr().out


@pytest.mark.slow
def test_the_row_of_a_sweep_has_the_costs_of_all_members():
    costs, state = training.sweep([COST] * 3, [begin(i).params for i in range(3)], STAGE.optimizer)
    keys = jnp.stack([jax.random.key(i) for i in range(3)])
    (row, *_) = stage.train(STAGE, costs, state, DATA, keys).rows
    assert len(row["costs"]) == 3 and row["cost"] == pytest.approx(np.mean(row["costs"]))


# ---- the cost of a dA ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        HOW,
        Denoising(0.5, "gaussian", "squared-error", "linear"),
        Denoising(0.2, "salt-and-pepper", "squared-error", "sigmoid"),
    ],
)
def test_the_denoising_cost_is_that_of_its_settings(how):
    params = autoencoder.init_tutorial(1, V, H)
    x = jnp.asarray(DATA[:5] / np.float32(256))
    x_tilde = corruption.NOISES[how.noise](key(), x, how.corruption)
    expected = autoencoder.cost(params, x, x_tilde, how.cost, how.decoder)
    value = stage.denoising_cost(how, 256.0)(params, jnp.asarray(DATA[:5]), key())
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_another_level_recompiles_nothing_and_another_noise_does():
    train()
    before = training.run_epoch._cache_size()
    train(cost=stage.denoising_cost(replace(HOW, corruption=0.5), 256.0))
    assert training.run_epoch._cache_size() == before
    other = stage.denoising_cost(replace(HOW, noise="gaussian"), 255.0)
    assert jax.tree.structure(other) != jax.tree.structure(COST)
