"""Early stopping: the tutorial's rule minibatch by minibatch, and the parameters it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import early_stopping
from dae_jax.early_stopping import Best, Patience, Several
from dae_jax.runs.checkpoints import Checkpoints
from dae_jax.training import Report, State

UPDATES = (1, 2, 3, 7, 50)


def tutorial_loop(errors, n, patience=None):
    """The loop of the tutorial, literally: (best error, its epoch, last look)."""
    patience = 10 * n if patience is None else patience
    best, best_epoch, looked = np.inf, 0, 0
    minibatch = -1
    for epoch, error in enumerate(errors, 1):
        for _ in range(n):
            minibatch += 1
            if (minibatch + 1) % n == 0:
                looked = epoch
                if error < best:
                    if error < best * 0.995:
                        patience = max(patience, 2 * minibatch)
                    best, best_epoch = error, epoch
            if patience <= minibatch:
                return best, best_epoch, looked
    return best, best_epoch, looked


def epochwise(errors, n, patience=None):
    """The same by the module, epoch by epoch."""
    rule = early_stopping.begin(1, n, patience)
    for epoch, error in enumerate(errors, 1):
        rule, _ = early_stopping.look(rule, epoch, n, np.array([error]))
        if early_stopping.exhausted(rule, epoch, n)[0]:
            break
    return rule.best_error[0], rule.best_epoch[0], epoch


def error_sequences(kind, count=20, epochs=120):
    """Shares of 500 validation images, as errors are."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        falling = 0.5 * np.exp(-np.arange(epochs) / rng.uniform(2, 80))
        errors = {
            "falling with noise": falling + rng.normal(0, 0.03, epochs),
            "constant": np.full(epochs, rng.uniform()),
            "plateaus": np.repeat(np.sort(rng.uniform(0, 1, epochs))[::-1], 15)[:epochs],
            "one late improvement": np.where(np.arange(epochs) < rng.integers(8, 24), 0.3, 0.2),
            "about the threshold": np.cumprod(rng.uniform(0.98, 1.01, epochs)),
            "any": rng.uniform(0, 1, epochs),
        }[kind]
        yield errors.clip(0) if kind == "about the threshold" else (errors.clip(0) * 500) // 1 / 500


KINDS = (
    "falling with noise",
    "constant",
    "plateaus",
    "one late improvement",
    "about the threshold",
    "any",
)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rule_equals_the_tutorial_loop_over_minibatches(kind):
    for errors in error_sequences(kind):
        for n in UPDATES:
            assert epochwise(errors, n) == tutorial_loop(errors, n), (n, errors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_patience_may_be_a_number_of_minibatches(kind):
    """As in logistic_sgd, where it is 5,000 with 83 minibatches per epoch.

    With less than two epochs of it, the tutorial would look at errors within an epoch.
    """
    for errors in error_sequences(kind, count=8):
        for n, patience in ((83, 5000), (7, 40), (50, 1000), (3, 6), (100, 10_000)):
            expected = tutorial_loop(errors, n, patience)
            assert epochwise(errors, n, patience) == expected, (n, patience, errors)


def test_logistic_sgd_trains_for_60_epochs_at_least_and_goes_on_as_long_again():
    """5,000 minibatches are 60.2 epochs of 83: without progress, the errors of 60 are seen."""
    assert epochwise(np.full(200, 0.1), 83, 5000)[2] == 60
    # A clear improvement after epoch 40, in minibatch 3,319, extends it to 6,638: 79.9 epochs.
    improved = np.where(np.arange(200) < 39, 0.2, 0.1)
    assert epochwise(improved, 83, 5000) == (0.1, 40, 79)
    # One after epoch 20 extends nothing: 3,318 are fewer than 5,000.
    assert epochwise(np.where(np.arange(200) < 19, 0.2, 0.1), 83, 5000) == (0.1, 20, 60)


def test_a_patience_is_the_same_for_all_members_in_the_beginning():
    rule = early_stopping.begin(3, 83, 5000)
    assert rule.patience.tolist() == [5000] * 3
    assert early_stopping.begin(2, 83).patience.tolist() == [830] * 2
    assert early_stopping.begin(2, 83, 0).patience.tolist() == [0] * 2


def test_these_sequences_stop_at_many_different_epochs():
    """Otherwise the test above would show little."""
    stops = {
        tutorial_loop(e, n)[2] for kind in KINDS for e in error_sequences(kind) for n in (2, 7)
    }
    assert {10, 120} < stops and len(stops) > 12


@pytest.mark.parametrize("n", UPDATES)
def test_errors_that_never_change_stop_after_ten_epochs(n):
    # with a single minibatch per epoch, the errors come before the patience is checked
    assert epochwise(np.full(30, 0.5), n)[2] == (11 if n == 1 else 10)


def test_a_small_improvement_is_kept_but_extends_nothing():
    rule = Patience(np.array([520]), np.array([0.4]), np.array([50]))
    rule, better = early_stopping.look(rule, 51, 10, np.array([0.4 * 0.996]))
    assert (rule.patience[0], rule.best_epoch[0], better[0]) == (520, 51, True)
    rule, better = early_stopping.look(rule, 52, 10, np.array([0.4 * 0.996 * 0.994]))
    assert (rule.patience[0], rule.best_epoch[0], better[0]) == (2 * 519, 52, True)
    rule, better = early_stopping.look(rule, 53, 10, rule.best_error)
    assert (rule.best_epoch[0], better[0]) == (52, False)


# ---- best models ----------------------------------------------------------------------------


def parameters(epoch, members):
    """Parameters that identify their epoch and member."""
    W = np.array([np.full((2, 3), 100 * epoch + m) for m in members], np.float32)
    return {"W": W, "b": W[:, 0]}


class Training:
    """A training whose errors are given, watched by `Best`."""

    def __init__(self, table, members, updates=2, patience=None):
        self.table, self.members = table, members
        self.watch = Best(parameters(0, members), self.error, updates, patience)

    def error(self, i, params):
        epoch, m = divmod(int(params["W"][0, 0]), 100)
        assert m == self.members[i]
        return self.table[m][epoch - 1]

    def run(self, start=0):
        """Continue as `stage.train` does; returns the last epoch."""
        for epoch in range(start + 1, len(self.table[0]) + 1):
            state = State(jax.tree.map(jnp.asarray, parameters(epoch, self.members)), ())
            cost = np.zeros(len(self.members))
            added = self.watch.after(Report(epoch, cost, True, 0.1, state))
            assert added == {"valid_error": [self.table[m][epoch - 1] for m in self.members]}
            if self.watch.done(epoch):
                break
        return epoch


# Member 0 stops after 10 epochs, though it would get better later; 1 is best in epoch 3 of all 30;
# 2 goes on to the end and is best there.
TABLE = [
    [0.5] * 14 + [0.1] * 16,
    [0.5, 0.4, 0.01, *[0.2] * 27],
    list(np.geomspace(0.9, 0.1, 30)),
]


def test_the_best_epochs_parameters_are_kept_and_not_the_last_ones():
    training = Training(TABLE, [1])
    assert training.run() > 3
    kept = training.watch
    assert (kept.rule.best_epoch[0], kept.rule.best_error[0]) == (3, 0.01)
    np.testing.assert_array_equal(kept.params["W"], parameters(3, [1])["W"])
    np.testing.assert_array_equal(kept.params["b"], parameters(3, [1])["b"])


def test_members_together_stop_as_each_would_alone_and_the_last_one_ends_the_training():
    together = Training(TABLE, [0, 1, 2])
    alone = [Training(TABLE, [m]) for m in range(3)]
    lasts = [training.run() for training in alone]
    assert lasts[0] == 10 and together.run() == max(lasts) == 30
    for m, one in enumerate(alone):
        for field, value in one.watch.rule._asdict().items():
            assert getattr(together.watch.rule, field)[m] == value[0]
        for name, leaf in one.watch.params.items():
            np.testing.assert_array_equal(together.watch.params[name][m], leaf[0])
        best_error, best_epoch, last = tutorial_loop(TABLE[m], 2)
        assert one.watch.rule.best_epoch[0] == best_epoch and last == lasts[m]
        assert one.watch.rule.best_error[0] == best_error
    assert together.watch.rule.best_epoch.tolist() == [1, 3, 30]


@pytest.mark.parametrize("patience", [6, 10, 31, 45])
def test_a_watch_stops_when_its_own_patience_is_used_up(patience):
    training = Training(TABLE, [0], updates=3, patience=patience)
    best_error, best_epoch, last = tutorial_loop(TABLE[0], 3, patience)
    assert training.run() == last
    rule = training.watch.rule
    assert (rule.best_error[0], rule.best_epoch[0]) == (best_error, best_epoch)


def test_a_member_that_was_not_trained_has_no_error():
    watch = Training(TABLE, [0, 1]).watch
    state = State(jax.tree.map(jnp.asarray, parameters(1, [0, 1])), ())
    added = watch.after(Report(1, np.array([np.nan, 0.3]), True, 0.1, state))
    np.testing.assert_array_equal(added["valid_error"], [np.nan, 0.5])
    assert watch.rule.best_epoch.tolist() == [0, 1]


def test_without_minibatches_per_epoch_no_patience_counts():
    training = Training(TABLE, [0], updates=None, patience=3)
    assert training.run() == 30


def test_the_best_parameters_survive_the_donation_of_the_state():
    watch = Best({"W": jnp.zeros((1, 2, 3))}, lambda i, params: 0.5, 2)
    W = jnp.ones((1, 2, 3))
    watch.after(Report(1, np.zeros(1), True, 0.1, State({"W": W}, ())))
    W.delete()  # as donation does
    np.testing.assert_array_equal(watch.params["W"], np.ones((1, 2, 3)))


def test_a_watch_resumes_from_a_checkpoint_as_if_uninterrupted(tmp_path):
    whole = Training(TABLE, [0, 1, 2])
    whole.run()
    first = Training(TABLE, [0, 1, 2])
    first.table = [errors[:12] for errors in TABLE]
    assert first.run() == 12
    with Checkpoints(tmp_path / "checkpoints") as saved:
        saved.save(12, first.watch.kept, now=True)
    second = Training(TABLE, [0, 1, 2])
    with Checkpoints(tmp_path / "checkpoints") as saved:
        start, second.watch.kept = saved.restore(second.watch.kept)
    assert (start, second.run(start)) == (12, 30)
    for kept, expected in zip(second.watch.rule, whole.watch.rule, strict=True):
        assert kept.dtype == expected.dtype
        np.testing.assert_array_equal(kept, expected)
    for name, leaf in whole.watch.params.items():
        np.testing.assert_array_equal(second.watch.params[name], leaf)


def test_before_the_first_look_a_checkpoint_holds_an_infinite_error(tmp_path):
    watch = Best(parameters(0, [0]), lambda i, params: 0.5, 2)
    with Checkpoints(tmp_path / "checkpoints") as saved:
        saved.save(1, watch.kept, now=True)
        _, (rule, params) = saved.restore(watch.kept)
    assert rule.best_error[0] == np.inf and rule.best_epoch[0] == 0 and rule.patience[0] == 20
    np.testing.assert_array_equal(params["W"], parameters(0, [0])["W"])


def test_without_patience_all_epochs_count_and_the_best_is_kept():
    training = Training([[0.5] * 14 + [0.1] * 16, TABLE[1]], [0, 1], updates=None)
    assert training.run() == 30
    assert training.watch.rule.best_epoch.tolist() == [15, 3]
    for m, epoch in enumerate((15, 3)):
        np.testing.assert_array_equal(training.watch.params["W"][m], parameters(epoch, [m])["W"][0])


# ---- several watches of one training --------------------------------------------------------


def run_both(watch, epochs, start=0):
    """Go on as `stage.train` does, up to an epoch; returns the last one and the last row."""
    for epoch in range(start + 1, epochs + 1):
        state = State(jax.tree.map(jnp.asarray, parameters(epoch, [0, 1])), ())
        row = watch.after(Report(epoch, np.zeros(2), True, 0.1, state))
        if watch.done(epoch):
            break
    return epoch, row


def both():
    """Two watches of two members, whose errors are those of two tables."""
    return Several([Training(table, [0, 1]).watch for table in (TABLE[:2], TABLE[1:])])


def test_several_watches_keep_what_each_keeps_alone_and_end_with_the_last():
    watch, alone = both(), both().watches
    lasts = [run_both(one, 30)[0] for one in alone]
    last, row = run_both(watch, 30)
    assert lasts[0] < lasts[1] == last == 30
    assert row == {
        "valid_error": [errors[29] for errors in TABLE[:2]],
        "valid_error_2": [errors[29] for errors in TABLE[1:]],
    }
    jax.tree.map(np.testing.assert_array_equal, watch.kept, tuple(one.kept for one in alone))
    # the second member is finished for the first watch alone
    assert watch.watches[0].finished(12).tolist() == [True, True]
    assert watch.finished(12).tolist() == [True, False]
    assert watch.watches[0].rule.best_epoch.tolist() == [1, 3]
    assert watch.watches[1].rule.best_epoch.tolist() == [3, 30]


def test_several_watches_resume_from_a_checkpoint(tmp_path):
    whole, first, second = both(), both(), both()
    run_both(whole, 30)
    run_both(first, 12)
    with Checkpoints(tmp_path / "checkpoints") as saved:
        saved.save(12, first.kept, now=True)
    with Checkpoints(tmp_path / "checkpoints") as saved:
        start, second.kept = saved.restore(second.kept)
    run_both(second, 30, start)
    jax.tree.map(np.testing.assert_array_equal, second.kept, whole.kept)
