"""`python -m dae_jax.pretrain --preset few-labels`: its files, resuming, prediction, errors."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dae_jax import evaluation, ladder, memory, pretrain, stacked, training
from dae_jax.datasets import Dataset, Split
from dae_jax.runs import ladder as runs
from dae_jax.runs import saved, shifts
from dae_jax.settings.ladder import Data, Network, Settings
from dae_jax.settings.pretrain import Running
from helpers import assert_one_line, files, key, read_json, refused
from small_stack import metrics

ONE = jnp.float32(1)
SMALL = (
    *("--preset", "few-labels", "--data", "small.npz", "--valid-fraction", "0.2"),
    *("--hidden", "10", "6", "--epochs", "4", "--batch-size", "16"),
)


@pytest.fixture(autouse=True)
def standard_promotion():
    """Optax's Adam raises a float to an integer power, which strict promotion forbids."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def few(pretrain_call):
    """Train a small ladder network, in the run directory r; further flags win."""
    return lambda *argv: pretrain_call(*SMALL, "--run-dir", "r", *argv)


def test_a_run_leaves_its_configuration_numbers_and_a_model(few):
    status, out, err = few("--labels", "12")
    assert (status, err) == (0, "")
    assert "12 of 66 images have labels, of 3 classes; a ladder network" in out
    assert "16 updates in 4 epochs" in out
    assert {
        "command.txt",
        "config.json",
        "ladder/metrics.jsonl",
        "model.safetensors",
        "report.json",
        "results.json",
    } == {name for name in files("r") if "checkpoints" not in name}
    rows = metrics("ladder")
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    results = read_json(Path("r/results.json"))
    # the last epoch's weights are kept, whatever the validation error
    assert results["valid_error"] == rows[-1]["valid_error"][0] and "best_epoch" not in results
    assert results["test_images"] == 22
    card = saved.load("r/model.safetensors").card
    assert (card.kind, card.activation, card.config["preset"]) == (
        "classifier",
        "relu",
        "few-labels",
    )


def test_a_table_of_any_units_is_learnt_and_its_new_rows_may_go_beyond_it(few, call):
    from dae_jax import predict

    rng = np.random.default_rng(0)
    classes = np.arange(120) % 2
    rows = np.column_stack([rng.normal(classes, 0.3), 1e4 * rng.normal(size=120)])
    lines = [f"{a},{b},{'yn'[c]}" for (a, b), c in zip(rows.tolist(), classes, strict=True)]
    Path("some.csv").write_text("\n".join(["size,price,label", *lines]))
    Path("beyond.csv").write_text("size,price\n9,1e6\n-9,-1e6\n")
    status, out, err = few("--data", "some.csv", "--epochs", "50", "--denoising", "1")
    assert (status, err) == (0, "") and "rows have labels, of 2 classes" in out
    # the classes differ in the column of small numbers only
    assert read_json(Path("r/results.json"))["valid_error"] < 0.25
    assert call(predict.main, "r", "beyond.csv", "--out", "-").status == 0


@pytest.mark.slow
def test_it_learns_the_classes_of_few_labels(few):
    status, *_ = few("--labels", "12", "--epochs", "60", "--hidden", "40", "20", "--shift", "0")
    assert status == 0 and read_json(Path("r/results.json"))["test_error"] < 0.4  # chance is .67


@pytest.mark.slow
def test_predict_and_transform_take_the_model(few, call):
    from dae_jax import predict, transform

    few("--labels", "12")
    model, _ = saved.load("r/model.safetensors")
    with np.load("small.npz") as arrays:
        x = arrays["x"].reshape(-1, 64) / np.float32(255)
    h = np.maximum(x @ model.hidden[0].W + model.hidden[0].b, 0)
    assert call(transform.main, "r", "small.npz", "--layer", "1").status == 0
    np.testing.assert_allclose(np.load("codes.npy"), h, rtol=1e-4, atol=1e-4)
    h = np.maximum(h @ model.hidden[1].W + model.hidden[1].b, 0)
    logits = h @ model.top.W + model.top.b
    assert call(predict.main, "r", "small.npz").status == 0
    lines = Path("predictions.csv").read_text().splitlines()[1:]
    assert [line.split(",")[1] for line in lines] == [str(i) for i in logits.argmax(1)]


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--seeds", "3", "--shift", "1")], ids=["one", "three"])
def test_an_interrupted_run_resumes_to_the_same_bits(few, pretrain_call, monkeypatch, flags):
    few("--labels", "12", *flags, "--run-dir", "whole")
    real = training.fit

    def interrupted(*args, **how):
        for report in real(*args, **how):
            yield report
            if report.epoch == 2:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", interrupted)
        assert few("--labels", "12", *flags).status == 130
    status, out, err = pretrain_call("--preset", "few-labels", "--resume", "--run-dir", "r")
    assert (status, err) == (0, "") and "ladder: resuming after epoch" in out
    models = [name for name in files("whole") if name.endswith(".safetensors")]
    assert len(models) == (3 if flags else 1)
    for name in models:
        assert Path("r", name).read_bytes() == Path("whole", name).read_bytes()
    assert metrics("ladder", "r") == metrics("ladder", "whole")


@pytest.mark.slow
def test_the_members_of_several_seeds_are_the_runs_alone(few):
    few("--labels", "12", "--seeds", "2", "--shift", "1", "--run-dir", "both")
    few("--labels", "12", "--seed", "89678", "--shift", "1", "--run-dir", "alone")
    both, alone = (saved.load(f"{name}/model.safetensors") for name in ("both/seed_89678", "alone"))
    # the same numbers of the same images; with another number of members, XLA adds in another order
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, both.params, alone.params)


@pytest.mark.slow
def test_each_seed_draws_its_own_labelled_images(few, monkeypatch):
    seen = []
    real = training.fit

    def spy(*args, labelled, **how):
        seen.append(jax.tree.map(np.array, labelled))
        return real(*args, labelled=labelled, **how)

    monkeypatch.setattr(training, "fit", spy)
    assert few("--labels", "12", "--seeds", "2", "--epochs", "1").status == 0
    images, labels = seen[-1]  # after the trials
    assert images.shape == (2, 12, 64) and labels.shape == (2, 12)
    assert (np.sort(labels, axis=1) == np.repeat([0, 1, 2], 4)).all()
    assert not np.array_equal(images[0], images[1])


def standardised(images, some):
    """Images / 255 with the mean and the standard deviation of all pixels of some of them."""
    x = np.asarray(images, float) / 255
    return ((x - x[:some].mean()) / x[:some].std()).astype(np.float32)


def test_the_statistics_are_those_of_the_first_training_images(monkeypatch):
    monkeypatch.setattr(runs, "MOST", 5)
    params = ladder.init(jax.random.key(0), (6, 4, 3))
    images = np.random.default_rng(0).integers(0, 256, (9, 6), np.uint8)
    model = runs.predictor(params, images, runs.inputs(images, 255.0))
    x = standardised(images, 5)
    expected = ladder.classifier(params, ladder.statistics(params, x[:5]))
    logits = evaluation.apply(saved.logits("relu"), model, images)
    normalised = stacked.logits(expected, x, jax.nn.relu)
    np.testing.assert_allclose(logits, normalised, rtol=1e-3, atol=1e-3)


def test_inputs_of_any_scale_are_standardised_alike():
    images = np.random.default_rng(0).integers(0, 256, (9, 6), np.uint8)
    by = runs.inputs(images, 255.0)
    x = runs.standardised(images, by)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)
    for other in (images / np.float32(1000), images * np.float32(7) - 90):
        np.testing.assert_allclose(
            runs.standardised(other, runs.inputs(other, 255.0)), x, atol=1e-4
        )


def test_each_column_of_a_table_is_standardised():
    rows = np.random.default_rng(0).normal([5, -300, 2], [0.1, 100, 0], (50, 3)).astype(np.float32)
    by = runs.inputs(rows, 255.0, table=True)
    x = runs.standardised(rows, by)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(x.std(axis=0), [1, 1, 0], atol=1e-4)
    params = ladder.init(jax.random.key(0), (3, 4, 2))
    expected = ladder.classifier(params, ladder.statistics(params, x))
    logits = evaluation.apply(saved.logits("relu"), runs.predictor(params, rows, by), rows)
    normalised = stacked.logits(expected, x, jax.nn.relu)
    np.testing.assert_allclose(logits, normalised, rtol=1e-3, atol=1e-3)


def dot(how):
    """A minibatch of one white pixel in the middle, and what the cost is given of it."""
    image = jnp.zeros((1, 25)).at[0, 12].set(1.0)
    batch, params = (image, (image, jnp.zeros(1, jnp.int32))), ladder.init(key(), (25, 2))
    seen = []

    def cost(params, batch, key, **numbers):
        seen.append(jax.tree.map(np.array, batch))
        return jnp.zeros(())

    by = runs.Inputs(jnp.float32(0.25), jnp.float32(0.5), ONE)
    for i in range(20):
        runs._prepared(params, batch, key(i), cost=cost, by=by, noise=jnp.zeros(2), **how)
    return seen


def test_shifted_images_are_moved_with_and_without_labels():
    seen = dot({"image_shape": (5, 5), "furthest": ONE})
    assert all(labels.tolist() == [0] for _, (_, labels) in seen)
    assert all(set(x[0]) == set(images[0]) == {-0.5, 1.5} for x, (images, _) in seen)
    places = {(int(x.argmax()), int(images.argmax())) for x, (images, _) in seen}
    assert all(abs(p // 5 - 2) <= 1 and abs(p % 5 - 2) <= 1 for pair in places for p in pair)
    assert any(one != other for one, other in places)


def test_images_that_are_not_shifted_stay_where_they_are():
    for x, (images, _) in dot({"image_shape": None, "furthest": ONE}):
        assert x.argmax() == images.argmax() == 12


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--labels 2", "--labels: expected 3 (one for each class) to 66"),
        ("--labels 67", "--labels: expected 3 (one for each class) to 66"),
        ("--batch-size 67", "--batch-size: expected at most 66"),
        ("--shift 8", "--shift: expected 0 to 7"),
        ("--freeze", "--freeze is a flag of the stack"),
        ("--data none.npz", "none.npz"),
        ("--preset", "--preset"),
    ],
)
def test_bad_input_is_one_line(few, flags, words):
    status, _, err = few(*flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert not Path("r").exists()


def test_without_images_without_labels_it_is_said_what_is_used_instead(few, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda run: None)  # as if stopped before training
    words = "no images without labels (--unlabelled): the labelled ones are used without, too\n"
    for flags, expected in ((("--labels", "66"), True), (("--labels", "65"), False)):
        status, out, _ = few(*flags, "--run-dir", flags[1])
        assert status == 130 and (words in out) == expected


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--preset few-labels --freeze", "--freeze is a flag of the stack"),
        ("--preset=few-labels --no-shuffle", "--no-shuffle is a flag of the stack"),
        ("--preset few-labels --corruption=0.3", "--corruption is a flag of the stack"),
        ("--preset best --labelled-batch-size 5", "-size is a flag of the ladder network"),
        ("--data mnist --epochs 3", "--epochs is a flag of the ladder network"),
        ("--data small.npz --freeze --epochs 3", "--epochs is a flag of the ladder network"),
        ("--preset few-labels --frieze", "Unrecognized options: --frieze; see"),
        ("--preset few-labels --seed x", "'x'"),
    ],
)
def test_a_flag_of_the_other_network_is_refused_as_such(pretrain_call, flags, words):
    status, _, err = pretrain_call(*flags.split())
    assert status == 2
    assert_one_line(err, words)


def test_images_that_are_all_the_same_are_refused(few):
    np.savez("same.npz", x=np.ones((30, 4), np.uint8), y=np.arange(30) % 3)
    status, _, err = few("--data", "same.npz")
    assert status == 2
    assert_one_line(err, "images of same", "all the same")
    np.save("varied.npy", np.arange(160, dtype=np.uint8).reshape(40, 4))
    status, _, err = few("--data", "same.npz", "--unlabelled", "varied.npy")
    assert status == 2
    assert_one_line(err, "images of same with labels", "all the same")


def test_unlabelled_images_of_another_size_are_refused(few):
    np.savez("other.npz", x=np.ones((30, 9), np.uint8))
    status, _, err = few("--unlabelled", "other.npz")
    assert status == 2
    assert_one_line(err, "--unlabelled other.npz", "8 x 8")


@pytest.mark.slow
def test_a_card_of_an_unknown_activation_is_refused(few):
    few("--labels", "12", "--epochs", "1")
    params, card = saved.load("r/model.safetensors")
    saved.save(Path("odd.safetensors"), params, replace(card, activation="sine"))
    refused(lambda: saved.load("odd.safetensors"), "activation in", "got sine")


# ---- how far to shift ------------------------------------------------------------------------


@pytest.fixture
def distances(monkeypatch):
    """The distances that networks were trained with, in turn."""
    seen, real = [], runs._costs
    monkeypatch.setattr(runs, "_costs", lambda run, far, by: seen.append(far) or real(run, far, by))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize(("errors", "best"), [((9, 3), 1), ((3, 9), 0), ((3, 3), 0)])
def test_the_distance_with_fewer_errors_is_taken(few, monkeypatch, distances, errors, best):
    trials = [shifts.Trial(i, wrong, 20) for i, wrong in enumerate(errors)]
    monkeypatch.setattr(shifts, "compare", lambda *given: trials)
    status, out, _ = few("--labels", "12", "--epochs", "1")
    assert status == 0 and distances == [[best]]
    report = read_json(Path("r/report.json"))
    assert report["shift"] == best and report["data"]["labelled_images"] == 12
    assert [(t["shift"], t["wrong"]) for t in report["trials"]] == list(enumerate(errors))
    assert ("images are shifted by up to 1 pixel:" in out) == bool(best)


@pytest.mark.slow
def test_a_distance_that_is_given_is_not_tried(few, distances):
    assert few("--labels", "12", "--shift", "2", "--epochs", "1").status == 0
    assert distances == [[2]] and read_json(Path("r/report.json"))["trials"] == []


# ---- cross-validation ------------------------------------------------------------------------


def toy(n=31, side=8):
    rng = np.random.default_rng(1)
    labels = np.sort(np.arange(n) % 3).astype(np.int32)
    return Split(rng.integers(0, 256, (n, side * side), np.uint8), labels)


def test_folds_are_balanced_and_test_every_image_once():
    own = toy()
    pairs = runs._folds(own)
    assert len(pairs) == runs.N_FOLDS
    tested = np.concatenate([test.images for _, test in pairs])
    assert sorted(map(tuple, tested)) == sorted(map(tuple, own.images))
    assert len({len(part.images) for part, _ in pairs}) == 1  # one program trains them all
    for part, test in pairs:
        assert not {*map(tuple, part.images)} & {*map(tuple, test.images)}
        counts = np.bincount(test.labels, minlength=3)
        assert counts.max() - counts.min() <= 1


FEW = ("--data", "small.npz", "--hidden", "10", "--epochs", "3", "--batch-size", "16")


@pytest.mark.slow
def test_of_few_labels_none_are_held_out_and_the_error_is_cross_validated(
    pretrain_call, monkeypatch
):
    own, evaluate = [], evaluation.apply

    def spy(network, params, images, scale=255.0):
        own.append(len(images))
        return evaluate(network, params, images, scale)

    monkeypatch.setattr(runs.evaluation, "apply", spy)
    status, out, err = pretrain_call(*FEW, "--run-dir", "r")
    assert (status, err) == (0, "")
    assert "110 of 110 images have labels" in out
    assert "of 110 images, 95 % interval" in out and "no images were held out" in out
    assert sum(own[:3]) == 110 and max(own) < 40
    result = read_json(Path("r/report.json"))["cross_validation"]
    assert (result["n"], result["networks"]) == (110, 3)
    # one of the three epochs
    assert [row["epoch"] for row in metrics("folds")] == [1]


@pytest.mark.slow
def test_a_resumed_run_does_not_cross_validate_again(pretrain_call, monkeypatch):
    assert pretrain_call(*FEW, "--run-dir", "s").status == 0
    written = Path("s/folds/errors.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_folds", None)
        assert pretrain_call("--resume", "--run-dir", "s").status == 0
    assert Path("s/folds/errors.json").read_bytes() == written
    # but for the metrics of the folds, if they are damaged
    rows = metrics("folds", "s")
    Path("s/folds/metrics.jsonl").write_text("")
    assert pretrain_call("--resume", "--run-dir", "s").status == 0
    assert metrics("folds", "s") == rows
    assert Path("s/folds/errors.json").read_bytes() == written


# ---- by default ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--data small.npz", True),
        ("--data small.npz --hidden 20 --seeds 2 --labels 30", True),
        ("--data mnist.npz --shift 1", True),
        ("", False),  # the tutorial's run
        ("--data mnist", False),
        ("--data digits --labels 100", False),
        ("--data mnist.pkl.gz", False),
        ("--data small.npz --corruption 0.2", False),
        ("--data small.npz --compare", False),
        ("--data small.npz --preset best", False),
        ("--data small.npz --preset=large-rate", False),
        ("--preset few-labels", True),
        ("--data mnist --preset=few-labels", True),
        ("--help", False),
        ("--preset few-labels --help", True),
    ],
)
def test_data_of_ones_own_train_a_ladder_unless_a_flag_is_the_stacks(here, flags, expected):
    assert pretrain._wants_ladder(flags.split()) == expected


def test_a_resumed_run_is_of_the_kind_that_it_was(few, pretrain_call, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(runs, "train", lambda run: None)
        assert few("--labels", "12").status == 130
    assert pretrain._wants_ladder(["--resume", "--run-dir", "r"])
    assert not pretrain._wants_ladder(["--resume", "--run-dir", "elsewhere"])


def test_the_memory_that_a_run_needs_is_counted_from_its_widths():
    images = Split(np.zeros((30, 64), np.uint8), np.arange(30) % 3)
    dataset = Dataset("toy", "here", images, images, images, (8, 8), None)
    more = dataset._replace(unlabelled=np.zeros((70, 64), np.uint8))
    settings = Settings(
        data=Data(labels=6), network=Network(hidden=(10, 5)), running=Running(seeds=2)
    )
    models, seen = runs.needs(settings.resolved("toy", 100), more)
    weights = 2 * (64 * 10 + 10 * 5 + 5 * 3)  # W and V
    others = 10 + 5 + 3 + 3 + 10 * (64 + 10 + 5 + 3)  # biases, scale, combinators
    assert models.n_bytes == 2 * 4 * 4 * (weights + others)  # seeds, adam's four, float32
    assert seen.n_bytes == 64 * (100 + 2 * 6)


def test_a_ladder_that_does_not_fit_is_refused_before_anything_is_written(few, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 500_000)
    status, _, err = few("--hidden", "1000")
    assert status == 2 and not Path("r").exists()
    assert_one_line(err, "at most 500 kB, which is free", "for the models; lower --hidden")
