"""Pretraining and fine-tuning of a stack, against plain loops over minibatches."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from safetensors.numpy import load_file

from dae_jax import autoencoder, corruption, datasets, memory, stacked, training
from dae_jax.datasets import Dataset, Split
from dae_jax.runs import saved, stack, stack_report, stage
from dae_jax.settings.pretrain import Finetuning, Layer, Pretraining, Running, Settings
from dae_jax.settings.pretrain import Stack as Network
from dae_jax.stacked import Classifier
from helpers import assert_one_line, files, read_json, sigmoid
from small_stack import BATCH, LEVELS, ONE_LAYER, SEED, UNTRAINED, metrics, write_data
from trained_models import floats_card


def by_hand(cost, params, batches, optimizer, key, epochs):
    """Plain descent: the parameters after each epoch, and its mean cost."""

    @jax.jit
    def step(params, state, batch, key):
        value, gradient = jax.value_and_grad(cost)(params, batch, key)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for epoch in range(epochs):
        costs = []
        for i, batch in enumerate(batches):
            draw = jax.random.fold_in(jax.random.fold_in(key, epoch), i)
            params, state, value = step(params, state, batch, draw)
            costs.append(float(value))
        yield params, np.mean(costs)


def in_batches(*arrays):
    """Minibatches in the order of the file, the remainder dropped."""
    n = len(arrays[0]) // BATCH * BATCH
    parts = [np.split(a[:n], n // BATCH) for a in arrays]
    return list(zip(*parts, strict=True)) if len(arrays) > 1 else parts[0]


def layers_by_hand(x, hidden=(12, 8), epochs=3):
    """The layers pretrained on images (n, 64) in [0, 1], and all their costs."""
    layers, costs = stacked.init_tutorial(SEED, 64, hidden), []
    for k, level in enumerate(LEVELS[: len(hidden)]):

        def denoising(params, batch, key, level=level):
            return autoencoder.cost(params, batch, corruption.mask(key, batch, level))

        key = jax.random.fold_in(jax.random.key(SEED), k)
        each = list(by_hand(denoising, layers[k], in_batches(x), optax.sgd(0.1), key, epochs))
        costs.append([cost for _, cost in each])
        layers[k] = each[-1][0]
        # the next layer's inputs are clean, whatever this one learned from
        x = np.asarray(autoencoder.encode(layers[k], x))
    return layers, costs


def finetuned_by_hand(layers, data, epochs=6, optimizer=None, cost=stacked.cost, **how):
    """The model after each epoch, its cost, and the share of validation images it gets wrong."""
    batches = in_batches(data.train.images, data.train.labels)
    cost = partial(cost, pixel_scale=jnp.float32(255), **how)
    first = stacked.classifier(layers, 64, 3)
    key = jax.random.fold_in(jax.random.key(SEED), len(layers))
    for model, value in by_hand(cost, first, batches, optimizer or optax.sgd(0.5), key, epochs):
        yield model, value, wrong(model, data.valid)


def wrong(model, split):
    if not len(split.images):
        return None
    logits = stacked.logits(model, np.float32(split.images) / np.float32(255))
    return float(np.mean(np.argmax(np.asarray(logits), axis=1) != split.labels))


def small_data(folder="."):
    return datasets.load(Path(folder, "small.npz"), valid_fraction=0.2)


def assert_close(got, want):
    # float32 steps in two different programs
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-5), got, want)


# ---- a run, and the same by hand -------------------------------------------------------------


def test_a_run_equals_a_plain_loop_that_keeps_the_best_model(whole):
    data = small_data(whole.data)
    layers, costs = layers_by_hand(np.float32(data.train.images) / np.float32(255))
    for k, expected in enumerate(costs):
        assert_close(saved.load_layer(whole.run / f"layer_{k + 1}.safetensors"), layers[k])
        reported = [row["cost"] for row in metrics(f"layer_{k + 1}", whole.run)]
        np.testing.assert_allclose(reported, expected, rtol=1e-4)
    models, costs, errors = zip(*finetuned_by_hand(layers, data), strict=True)
    rows = metrics("finetune", whole.run)
    np.testing.assert_allclose([row["cost"] for row in rows], costs, rtol=1e-4)
    assert [row["valid_error"] for row in rows] == [[error] for error in errors]
    best = int(np.argmin(errors))
    assert 0 < best < 5  # or the best would be the last, and keeping it would show nothing
    model, _ = saved.load(whole.run / "model.safetensors")
    assert_close(model, models[best])
    for mine, pretrained in zip(model.hidden, layers, strict=True):
        assert np.abs(mine.W - pretrained.W).max() > 0.01  # fine-tuning changes all layers
    results = read_json(whole.run / "results.json")
    assert results["best_epoch"] == best + 1
    assert results["valid_error"] == errors[best]
    assert results["test_error"] == wrong(models[best], data.test)


def test_layer_2_learns_from_the_clean_codes_of_layer_1(whole):
    first, second, finetuning = whole.fits
    images = small_data(whole.data).train.images
    np.testing.assert_array_equal(first.data, images)
    layer = saved.load_layer(whole.run / "layer_1.safetensors")
    clean = autoencoder.encode(layer, np.float32(images) / np.float32(255))
    np.testing.assert_allclose(second.data[0], clean, rtol=1e-5)
    np.testing.assert_array_equal(finetuning.data[0], images)


@pytest.mark.slow
def test_several_seeds_are_each_the_run_alone(sweep, whole, pretrain_small):
    last = SEED + 2
    assert pretrain_small("--seed", str(last)).status == 0
    for alone, seed in ((whole.run, SEED), (Path("r"), last)):
        member = sweep.run / f"seed_{seed}"
        for name in ("layer_1.safetensors", "layer_2.safetensors", "model.safetensors"):
            mine, single = load_file(member / name), load_file(alone / name)
            assert set(mine) == set(single)
            for tensor, value in single.items():
                np.testing.assert_array_equal(mine[tensor], value)
        mine, single = read_json(member / "results.json"), read_json(alone / "results.json")
        for field in ("seed", "best_epoch", "valid_error", "test_error", "pretraining_costs"):
            assert mine[field] == single[field]


# ---- the settings of fine-tuning -------------------------------------------------------------


@pytest.mark.slow
def test_a_frozen_stack_keeps_its_pretrained_layers_to_the_bit(pretrain_small, whole):
    assert pretrain_small("--freeze").status == 0
    model = load_file("r/model.safetensors")
    for k in range(2):
        layer = load_file(f"r/layer_{k + 1}.safetensors")
        before = load_file(whole.run / f"layer_{k + 1}.safetensors")
        for name in ("W", "b"):
            np.testing.assert_array_equal(model[f"hidden.{k}.{name}"], layer[name])
            np.testing.assert_array_equal(layer[name], before[name])
    assert np.abs(model["top.W"]).max() > 1e-3


def with_penalty(model, batch, key, **how):
    W = [layer.W for layer in (*model.hidden, model.top)]
    return stacked.cost(model, batch, key, **how) + 0.005 * sum(jnp.sum(w**2) for w in W)


def halved(n):
    """A learning rate that is halved after every epoch of 6 minibatches."""
    return 0.2 * 0.5 ** (n // 6)


FINETUNING = {
    "momentum and decay": (
        "--finetune-optimizer momentum --learning-rate-decay 0.5 --finetune-learning-rate 0.2",
        dict(optimizer=optax.sgd(halved, momentum=0.9)),
    ),
    "adam and weight decay": (
        "--finetune-optimizer adam --weight-decay 0.01 --finetune-learning-rate 0.01",
        dict(optimizer=optax.adam(0.01), cost=with_penalty),
    ),
}


@pytest.mark.slow
@pytest.mark.usefixtures("standard_promotion")
@pytest.mark.parametrize("name", FINETUNING)
def test_fine_tuning_with_these_flags_equals_a_plain_loop(pretrain_small, name):
    flags, how = FINETUNING[name]
    # nothing is held out, so that the last model is the one to compare
    status, _, err = pretrain_small(*UNTRAINED, "--valid-fraction", "0", *flags.split())
    assert (status, err) == (0, "")
    layers = stacked.init_tutorial(SEED, 64, [12])
    data = datasets.load("small.npz", valid_fraction=0)
    each = list(finetuned_by_hand(layers, data, **how))
    model, _ = saved.load("r/model.safetensors")
    assert_close(model, each[-1][0])
    if "weight" not in name:  # the metrics are of the cost without its penalty
        costs = [row["cost"] for row in metrics("finetune")]
        np.testing.assert_allclose(costs, [cost for _, cost, _ in each], rtol=1e-4)


@pytest.fixture
def costs(monkeypatch):
    """The bound numbers of each cost that would be trained; nothing is, as after Ctrl-C."""
    numbers = []
    monkeypatch.setattr(stage, "train", lambda how, cost, *_: numbers.append(cost.keywords))
    return numbers


def test_dropout_reaches_the_cost(pretrain_small, costs):
    for folder, dropout in (("a", "0.1 0.4"), ("b", "0 0")):
        flags = [*UNTRAINED, "--run-dir", folder, "--dropout", *dropout.split()]
        assert pretrain_small(*flags).status == 130
    np.testing.assert_allclose(np.ravel(costs[0]["dropout"]), [0.1, 0.4], rtol=1e-6)
    assert "dropout" not in costs[1]  # so that no random numbers are drawn


@pytest.mark.slow
def test_shifted_images_reach_the_cost_if_they_are_requested(pretrain_small, monkeypatch):
    shifts = []
    monkeypatch.setattr(
        corruption, "shift", lambda key, images, *how: shifts.append(how) or 255 - images
    )
    shape = datasets.load("small.npz").image_shape
    costs, moved = [], []
    for folder, flags in (("a", ["--shift", "2"]), ("b", [])):
        flags = [*UNTRAINED, "--run-dir", folder, "--finetune-epochs", "2", *flags]
        assert pretrain_small(*flags).status == 0
        costs.append([row["cost"] for row in metrics("finetune", folder)])
        moved.append(set(shifts))
        shifts.clear()
    assert moved == [{(shape, 2)}, set()]
    assert costs[0] != costs[1]


@pytest.mark.slow
def test_without_validation_images_all_epochs_count_and_the_last_model_is_kept(pretrain_small):
    flags = (*UNTRAINED, "--valid-fraction", "0", "--finetune-epochs", "15")
    status, out, _ = pretrain_small(*flags)
    assert status == 0 and "no images were held out for testing" in out
    rows = metrics("finetune")
    assert [row["epoch"] for row in rows] == list(range(1, 16))
    results = read_json("r/results.json")
    assert not {"valid_error", "best_epoch", "test_error"} & {*rows[0], *results}


@pytest.mark.slow
def test_patience_ends_a_run_that_gets_no_better_and_resuming_adds_no_epochs(
    pretrain_small, pretrain_call
):
    flags = (*UNTRAINED, "--finetune-epochs", "50", "--finetune-learning-rate", "1e-9")
    assert pretrain_small(*flags).status == 0
    results = read_json("r/results.json")
    assert (results["epochs"]["finetune"], results["best_epoch"]) == (10, 1)
    model = Path("r/model.safetensors").read_bytes()
    status, out, _ = pretrain_call("--resume", "--run-dir", "r")
    assert status == 0 and "epoch 11/50" not in out
    assert Path("r/model.safetensors").read_bytes() == model
    assert len(metrics("finetune")) == 10


# ---- images and classes ----------------------------------------------------------------------


@pytest.mark.slow
def test_images_without_labels_are_used_for_pretraining_alone(pretrain_small):
    write_data("more.npz", n=50)
    epochs = ("--pretrain-epochs", "1", "--finetune-epochs", "1")
    status, out, _ = pretrain_small("--unlabelled", "more.npz", *ONE_LAYER, *epochs)
    assert status == 0
    assert "50 images without labels for pretraining, from more.npz" in out
    data = small_data()
    more = np.load("more.npz")["x"].reshape(50, 64)
    x = np.concatenate([data.train.images, more]).astype(np.float32) / np.float32(255)
    layers, [[cost]] = layers_by_hand(x, [12], epochs=1)
    np.testing.assert_allclose(metrics("layer_1")[0]["cost"], cost, rtol=1e-4)
    counts = read_json("r/report.json")["data"]
    assert (counts["pretraining_images"], counts["labelled_images"]) == (116, 66)
    ((model, cost, _),) = finetuned_by_hand(layers, data, epochs=1)
    np.testing.assert_allclose(metrics("finetune")[0]["cost"], cost, rtol=1e-4)
    assert_close(saved.load("r/model.safetensors").params, model)


@pytest.mark.slow
def test_classes_with_names_are_numbered_and_the_numbers_printed(pretrain_small):
    write_data("pets.npz", labels=("dog", "cat", "newt"))
    status, out, _ = pretrain_small("--data", "pets.npz", *UNTRAINED, "--finetune-epochs", "1")
    assert status == 0
    assert "classes: cat = 0, dog = 1, newt = 2" in out
    assert saved.load("r/model.safetensors").card.class_names == ("cat", "dog", "newt")


@pytest.mark.slow
def test_classes_0_to_k_are_not_printed_and_other_numbers_are(pretrain_small, whole):
    assert "classes:" not in whole.out
    write_data("odd.npz", labels=(3, 5, 9))
    _, out, _ = pretrain_small("--data", "odd.npz", *UNTRAINED, "--finetune-epochs", "1")
    assert "classes: 3 = 0, 5 = 1, 9 = 2" in out


# ---- training that diverges ------------------------------------------------------------------


@pytest.mark.slow
def test_a_layer_that_diverges_is_named_and_those_below_are_kept(pretrain_small):
    flags = "--cost cross-entropy squared-error --decoder sigmoid linear"
    status, _, err = pretrain_small(*flags.split(), "--pretrain-learning-rate", "0.1", "1e9")
    assert status == 2
    assert_one_line(err, "layer 2 training diverged in epoch")
    assert "lower --pretrain-learning-rate, which is 1e+09" in err
    assert "layer_1.safetensors" in files("r")
    assert not {"layer_2.safetensors", "model.safetensors"} & files("r")


def test_fine_tuning_that_diverges_keeps_the_last_good_checkpoint(
    pretrain_small, pretrain_call, monkeypatch
):
    real = training.fit

    def diverging(*args, epochs, **how):
        for report in real(*args, epochs=epochs, **how):
            bad = epochs == 6 and report.epoch == 3
            yield report._replace(finite=not bad, cost=report.cost * (np.nan if bad else 1))

    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", diverging)
        status, _, err = pretrain_small(*UNTRAINED)
    assert status == 2
    assert_one_line(err, "fine-tuning training diverged in epoch 3: the cost is nan")
    assert "(the checkpoint of epoch 1 is kept)" in err
    assert "lower --finetune-learning-rate, which is 0.5" in err
    assert [row["epoch"] for row in metrics("finetune")] == [1, 2]
    assert not Path("r/model.safetensors").exists()
    status, out, _ = pretrain_call("--resume", "--run-dir", "r")
    assert status == 0 and "resuming after epoch 1 of 6" in out


# ---- the parts of a run, without files -------------------------------------------------------

RNG = np.random.default_rng(0)
V, HIDDEN, K = 12, (7, 5), 4
PIXELS = RNG.integers(0, 256, (43, V), np.uint8)
CLASSES = np.asarray(PIXELS[:, 0] // 64, np.int32)
NONE = Split(PIXELS[:0], CLASSES[:0])
TOY = Dataset("toy", "here", Split(PIXELS, CLASSES), NONE, NONE, None, None)
RATE = Finetuning(finetune_epochs=3, finetune_learning_rate=0.3)


def stacks(seeds):
    """One stack per seed, its leaves with the axis of members."""
    each = [stacked.init_tutorial(seed, V, HIDDEN) for seed in seeds]
    return [training.stack(layers) for layers in zip(*each, strict=True)]


def softmax_regression(x, labels, *, rate, epochs, batch):
    """By hand and in float64, from zero."""
    W, b = np.zeros((x.shape[1], K)), np.zeros(K)
    for _ in range(epochs):
        for at in range(0, len(x) // batch * batch, batch):
            part, t = x[at : at + batch], labels[at : at + batch]
            e = np.exp(part @ W + b)
            d_a = (e / e.sum(axis=1, keepdims=True) - np.eye(K)[t]) / batch
            W, b = W - rate * part.T @ d_a, b - rate * d_a.sum(axis=0)
    return W, b


@pytest.mark.slow
def test_a_frozen_stack_is_a_softmax_regression_on_its_codes():
    layers = stacks([89677, 89678])
    how = Finetuning(finetune_epochs=3, finetune_learning_rate=0.3, freeze=True)
    tuned = stack.finetune(how, layers, TOY, stack.keys([1, 2], 2), 255.0)
    assert tuned.rule is None  # without validation images nothing can be chosen by them
    for i, model in enumerate(tuned.models):
        own = training.member(layers, i)
        for mine, pretrained in zip(model.hidden, own, strict=True):
            np.testing.assert_array_equal(mine.W, pretrained.W)
            np.testing.assert_array_equal(mine.b, pretrained.b)
        codes = PIXELS / 255
        for layer in own:
            codes = sigmoid(codes @ np.asarray(layer.W, float) + np.asarray(layer.b, float))
        W, b = softmax_regression(codes, CLASSES, rate=0.3, epochs=3, batch=20)
        # float32 sums of about a hundred terms
        np.testing.assert_allclose(model.top.W, W, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(model.top.b, b, rtol=1e-4, atol=1e-6)
        assert np.abs(model.top.W).max() > 1e-3


def test_the_codes_of_a_frozen_stack_are_dropped_at_the_rate_of_hidden_units(costs):
    for freeze in (False, True):
        how = Finetuning(dropout=(0.2, 0.5), freeze=freeze)
        assert stack.finetune(how, stacks([89677]), TOY, stack.keys([1], 2), 255.0) is None
    rates = [np.ravel(keywords["dropout"]) for keywords in costs]
    np.testing.assert_allclose(rates, [[0.2, 0.5], [0.5, 0.5]], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [False, True])
def test_one_training_is_chosen_by_each_of_several_validation_sets(freeze):
    how = Finetuning(finetune_epochs=4, finetune_learning_rate=0.3, freeze=freeze)
    sets = [TOY.train, Split(PIXELS[:7], CLASSES[:7])]
    both = stack.finetune_by_each(sets, how, stacks([1, 2]), TOY, stack.keys([1, 2], 2), 255.0)
    for valid, tuned in zip(sets, both, strict=True):
        own = TOY._replace(valid=valid)
        alone = stack.finetune(how, stacks([1, 2]), own, stack.keys([1, 2], 2), 255.0)
        jax.tree.map(np.testing.assert_array_equal, tuned, alone)
        assert not tuned.ended  # four epochs use up no patience of ten
    errors = [tuned.rule.best_error.tolist() for tuned in both]
    assert errors[0] != errors[1]


@pytest.mark.slow
def test_a_training_that_does_not_improve_is_ended_by_patience():
    how = Finetuning(finetune_epochs=12, finetune_learning_rate=1e-9)
    own = TOY._replace(valid=TOY.train)
    assert stack.finetune(how, stacks([1]), own, stack.keys([1], 2), 255.0).ended


@pytest.mark.slow
@pytest.mark.parametrize("freeze", [False, True])
def test_members_with_their_own_images_are_the_runs_alone(freeze):
    rows = RNG.integers(0, len(PIXELS), (2, 40))
    how = Finetuning(finetune_epochs=2, finetune_learning_rate=0.3, freeze=freeze)
    both = TOY._replace(train=Split(PIXELS[rows], CLASSES[rows]), valid=TOY.train)
    together = stack.finetune(how, stacks([1, 2]), both, stack.keys([1, 2], 2), 255.0)
    for i, seed in enumerate((1, 2)):
        own = TOY._replace(train=Split(PIXELS[rows[i]], CLASSES[rows[i]]), valid=TOY.train)
        alone = stack.finetune(how, stacks([seed]), own, stack.keys([seed], 2), 255.0)
        jax.tree.map(np.testing.assert_array_equal, together.models[i], alone.models[0])
        assert together.rule.best_error[i] == alone.rule.best_error[0]
        assert together.rule.best_epoch[i] == alone.rule.best_epoch[0]


def test_codes_are_each_members_own():
    (layer, above), x = stacks([1, 2]), PIXELS / 255
    expected = [sigmoid(x @ np.asarray(W, float)) for W in layer.W]
    codes = stack.codes(layer, PIXELS, 255.0)
    assert codes.shape == (2, 43, HIDDEN[0]) and codes.dtype == np.float32
    np.testing.assert_allclose(codes, expected, rtol=1e-5)
    higher = stack.codes(above, codes, 255.0)
    further = [sigmoid(expected[i] @ np.asarray(above.W[i], float)) for i in range(2)]
    np.testing.assert_allclose(higher, further, rtol=1e-5)


def test_a_layer_that_is_not_trained_keeps_its_initial_weights():
    layer = stacks([1, 2])[0]
    how = Layer(0.3, "masking", "cross-entropy", "sigmoid", 0, 0.1, 20, False)
    params = stack.train_layer(how, layer, PIXELS, stack.keys([1, 2], 0), 255.0)
    jax.tree.map(np.testing.assert_array_equal, params, layer)


@pytest.mark.parametrize("init", ["tutorial", "jax"])
def test_initial_layers_are_those_of_each_seed(init):
    settings = Settings(stack=Network(HIDDEN, init))
    first, second = stack.initial_layers(settings, V)
    assert first.W.shape == (1, V, HIDDEN[0]) and second.W.shape == (1, *HIDDEN)
    if init == "tutorial":
        expected = stacked.init_tutorial(89677, V, HIDDEN)
    else:
        key = jax.random.fold_in(jax.random.key(89677), stage.INIT)
        expected = stacked.init(key, V, HIDDEN)
    for mine, theirs in zip((first, second), expected, strict=True):
        np.testing.assert_array_equal(mine.W[0], theirs.W)


def test_stages_have_names_and_keys_of_their_own():
    assert stack.stage_names(Settings(stack=Network(HIDDEN))) == ["layer_1", "layer_2", "finetune"]
    keys = [tuple(row) for k in range(3) for row in jax.random.key_data(stack.keys([5, 6], k))]
    assert len(set(map(str, keys))) == 6


@pytest.mark.slow
def test_fine_tuning_without_layers_is_softmax_regression():
    model = stack.finetune(RATE, [], TOY, stack.keys([1], 0), 255.0).models[0]
    assert isinstance(model, Classifier) and not model.hidden
    W, b = softmax_regression(PIXELS / 255, CLASSES, rate=0.3, epochs=3, batch=20)
    np.testing.assert_allclose(model.top.W, W, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(model.top.b, b, rtol=1e-4, atol=1e-6)


# ---- bounds ----------------------------------------------------------------------------------

IMAGES = Split(np.zeros((30, 64), np.uint8), np.arange(30) % 3)
SQUARES = Dataset("toy", "here", IMAGES, IMAGES, IMAGES, (8, 8), None)


def needed(**settings):
    """The bytes of models, codes and images."""
    resolved = Settings(**settings).resolved("toy", 30)
    return [need.n_bytes for need in stack.needs(resolved, SQUARES)]


def test_the_memory_that_a_run_needs_is_that_of_its_largest_stage():
    # the classifier, in 4 bytes, with its gradient
    classifier = 64 * 50 + 50 + 50 * 3 + 3
    flat = Pretraining(pretrain_epochs=(1,))
    layer = 64 * 50 + 50 + 64
    assert needed(stack=Network((50,)), pretraining=flat) == [
        8 * max(classifier, layer),
        0,
        30 * 64,
    ]
    # layer 2, pretrained by adam on codes in 8 bytes, on the host and on the device, of 5 seeds
    running = Running(seeds=5, precision="float64")
    how = Pretraining(pretrain_optimizer="adam")
    layer, codes = 5 * 4 * 8 * (100 * 90 + 90 + 100), 5 * 2 * 8 * 30 * 100
    many = dict(stack=Network((100, 90)), running=running, pretraining=how)
    assert needed(**many) == [layer, codes, 30 * 64]
    # a softmax on the codes of layer 2
    there = Pretraining(from_run="elsewhere")
    wide = needed(stack=Network((1, 10_000)), finetuning=Finetuning(freeze=True), pretraining=there)
    assert wide == [8 * (10_000 * 3 + 3), 2 * 4 * 30 * 10_000, 30 * 64]
    more = SQUARES._replace(unlabelled=np.zeros((70, 64), np.uint8))
    resolved = Settings(stack=Network((12, 8))).resolved("toy", 100)
    assert stack.needs(resolved, more)[-1].n_bytes == 100 * 64


def test_a_stack_that_does_not_fit_is_refused_before_anything_is_written(
    pretrain_small, monkeypatch
):
    monkeypatch.setattr(memory, "available", lambda: 300_000)
    status, _, err = pretrain_small("--hidden", "1000", "8")
    assert status == 2 and not Path("r").exists()
    assert_one_line(err, "at most 300 kB, which is free", "lower --hidden")


def test_layers_that_are_read_again_are_drawn_to_the_same_pixels(tmp_path):
    layers = [jax.device_get(layer) for layer in stacked.init_tutorial(1, 64, (100, 100))]
    paths = [tmp_path / f"{k}.safetensors" for k in (1, 2)]
    for path, layer in zip(paths, layers, strict=True):
        saved.save(path, layer, floats_card(kind="autoencoder"))
    read = [training.member(stack._read([path]), 0) for path in paths]
    first, again = (stack_report._filters(each, "toy", (8, 8)) for each in (layers, read))
    for one, other in zip(first, again, strict=True):
        if isinstance(one.figure, np.ndarray):
            np.testing.assert_array_equal(one.figure, other.figure)
