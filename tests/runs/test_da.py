"""Training of dAs: the same as the library alone, other models, figures, divergence."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from dae_jax import autoencoder, corruption, datasets, evaluation, figures, memory, training
from dae_jax.datasets import Split
from dae_jax.runs import checkpoints, da, saved, stage
from dae_jax.runs.run import Run
from dae_jax.settings.shared import Denoising
from dae_jax.settings.train import Corruption, Model, Settings, Training
from helpers import SLOW, assert_one_line, files, key, read_json, sigmoid


def test_the_parameters_are_those_of_a_plain_loop(train_small):
    train_small("--run-dir", "runs/a", "--corruption", "0", "--pixel-scale", "256")
    params, card = saved.load("runs/a/params.safetensors")
    assert (card.kind, card.pixel_scale, card.seed) == ("autoencoder", 256, 123)
    x = datasets.load("small.npz").train.images.astype(np.float32) / 256
    mine, gradient = autoencoder.init_tutorial(123, 64, 16), jax.jit(jax.grad(autoencoder.cost))
    for _ in range(3):
        for batch in x[: len(x) // 20 * 20].reshape(-1, 20, 64):
            grads = gradient(mine, batch, batch)
            mine = jax.tree.map(lambda p, g: p - np.float32(0.1) * g, mine, grads)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), params, mine)


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        pytest.param("--untied --init jax --shuffle --learning-rate 0.05", marks=SLOW),
        "--noise gaussian --decoder linear --optimizer sgd --learning-rate 0.01",
        pytest.param(
            "--noise salt-and-pepper --optimizer momentum --learning-rate 0.01", marks=SLOW
        ),
    ],
)
def test_other_models_train_too_and_the_names_of_their_figures_say_so(train_small, flags):
    flags = flags.split()
    status, _, err = train_small("--run-dir", "r", *flags)
    assert (status, err) == (0, "")
    costs = [row["cost"] for row in checkpoints.read_metrics(Path("r/metrics.jsonl"))]
    assert costs[-1] < costs[0]
    (sheet, _) = sorted(name for name in files("filters") if name.startswith("filters"))
    for word in flags:
        assert word.startswith("--") or f"-{word}" in sheet
    assert ("W_prime" in load_file("r/params.safetensors")) == ("--untied" in flags)


@pytest.mark.slow
def test_data_of_any_range_trains_with_the_cost_that_the_error_names(
    train_small, standard_promotion
):
    rng = np.random.default_rng(0)
    np.save("wide.npy", rng.normal(size=(60, 9)).astype(np.float32))
    flags = ["--cost", "squared-error", "--decoder", "linear"]
    assert train_small(*flags, data="wide.npy").status == 0


def test_a_table_is_standardised_and_restored_in_its_own_units(train_small, standard_promotion):
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(200, 2))
    x = (hidden @ rng.normal(size=(2, 5)) + 10) * [1, 10, 100, 1e-3, 1]
    x[:, 4] = 7  # constant
    x[rng.random(x.shape) < 0.1] = np.nan
    lines = ["a,b,c,d,e", *(",".join("" if np.isnan(v) else str(v) for v in row) for row in x)]
    Path("table.csv").write_text("\n".join(lines))
    size = ("--n-hidden", "16", "--epochs", "300")
    status, out, err = train_small(
        "--corruption", "0.1", "--run-dir", "r", data="table.csv", size=size
    )
    assert (status, err) == (0, "")
    assert "columns are standardised" in out and "values are missing" in out
    model = saved.load("r/params.safetensors")
    assert model.card.columns == tuple("abcde") and model.card.deviations[4] == 1
    restored = model.reconstruct(x)
    gaps = np.isnan(x)
    assert np.isfinite(restored).all()
    spread = np.nanstd(x[:, :4], axis=0)
    error = np.nanmean(((restored - x)[:, :4] / spread) ** 2)
    assert error < 0.7  # 1 for the column means
    scores = model.anomaly_scores(np.where(gaps, np.nanmean(x, axis=0), x))
    strange = model.anomaly_scores(x[:1] * 0)
    assert scores.shape == (200,) and strange > np.quantile(scores, 0.99)
    result = read_json("r/results.json")["restored"]
    assert result["da"] < result["mean"] and 1 <= result["components"] <= 5


def test_the_sheet_of_standardised_images_is_one_of_pixels(
    train_small, standard_promotion, monkeypatch
):
    shown, real = [], figures.contact_sheet
    monkeypatch.setattr(figures, "contact_sheet", lambda *sets: shown.append(sets) or real(*sets))
    assert train_small("--standardize").status == 0
    ((x, _, z, shape),) = shown
    test = datasets.load("small.npz").test.images[:20] / 255
    np.testing.assert_allclose(x, test, atol=1e-5)
    assert shape == (8, 8) and 0.2 < np.mean(z) < 0.8
    (path,) = Path("runs").glob("*/params.safetensors")
    images = datasets.load("small.npz").test.images
    restored = saved.load(path).reconstruct(images)  # bytes, as in training
    assert 50 < restored.mean() < 200


def test_whole_numbers_of_a_table_are_no_pixels(train_small):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, 2, (60, 3))
    Path("answers.csv").write_text("\n".join(["a,b,c", *(",".join(map(str, r)) for r in rows)]))
    assert train_small("--run-dir", "r", data="answers.csv").status == 0
    model = saved.load("r/params.safetensors")
    assert (model.card.decoder, model.card.scaling) == ("sigmoid", None)
    np.testing.assert_array_equal(model.encode(rows), model.encode(rows.astype(np.float32)))


# ---- images held out -------------------------------------------------------------------------


def test_the_cost_of_held_out_images_is_that_of_the_same_noise_each_time(train_small):
    train_small("--run-dir", "r", "--seeds", "2")
    rows = checkpoints.read_metrics(Path("r/metrics.jsonl"))
    dataset = datasets.load("small.npz")
    for i, seed in enumerate((123, 124)):
        params = saved.load(f"r/corruption_30_seed_{seed}/params.safetensors").params
        expected = autoencoder.denoising_cost(
            params,
            jnp.asarray(dataset.valid.images),
            jax.random.fold_in(key(seed), stage.VALID),
            level=jnp.float32(0.3),
        )
        assert rows[-1]["valid_costs"][i] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("seeds", ["1", "2"])
def test_early_stopping_keeps_the_best_epoch_and_stops(train_small, seeds, monkeypatch):
    real = stage.cost_of
    calls = []

    def rising_after_4(cost, params, x, key):
        calls.append(float(real(cost, params, x, key)))
        return abs(len(calls) / int(seeds) - 4)

    monkeypatch.setattr(stage, "cost_of", rising_after_4)
    flags = ("--run-dir", "r", "--early-stopping", "--seeds", seeds)
    size = ("--n-hidden", "16", "--epochs", "40")
    assert train_small(*flags, size=size).status == 0
    rows = checkpoints.read_metrics(Path("r/metrics.jsonl"))
    assert 10 <= len(rows) < 40
    results = read_json("r/results.json")
    result = results if seeds == "1" else results[0]
    assert result["epochs"] == 4 and result["cost"] == rows[3].get("costs", [rows[3]["cost"]])[0]
    monkeypatch.setattr(stage, "cost_of", real)
    train_small("--run-dir", "four", "--seeds", seeds, size=("--n-hidden", "16", "--epochs", "4"))
    folder = "" if seeds == "1" else "corruption_30_seed_123/"
    stopped, four = (load_file(f"{run}/{folder}params.safetensors") for run in ("r", "four"))
    jax.tree.map(np.testing.assert_array_equal, stopped, four)


# ---- training that diverges ------------------------------------------------------------------


def test_a_diverging_run_stops_and_says_what_to_lower(train_small):
    flags = ("--decoder", "linear", "--optimizer", "sgd", "--learning-rate", "1e9")
    status, _, err = train_small("--run-dir", "r", *flags)
    assert status == 2
    assert_one_line(err, "diverged in epoch", "lower --learning-rate, which is 1e+09")
    assert not Path("r/params.safetensors").exists()


def test_a_diverging_run_keeps_the_last_good_checkpoint(train_small, monkeypatch):
    """Good means finite parameters too: the costs of an epoch are those before its steps."""
    real = training.fit

    def diverging(*args, **kwargs):
        for report in real(*args, **kwargs):
            bad = report.epoch == 3
            yield report._replace(finite=not bad, cost=report.cost * (np.nan if bad else 1))

    monkeypatch.setattr(training, "fit", diverging)
    status, _, err = train_small("--run-dir", "r")
    assert status == 2 and "epoch 3: the cost is nan (the checkpoint of epoch 1 is kept)" in err
    assert [row["epoch"] for row in checkpoints.read_metrics(Path("r/metrics.jsonl"))] == [1, 2]


# ---- measures and figures --------------------------------------------------------------------

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (30, 64), np.uint8)
DIGITS = datasets.Dataset(
    "toy",
    "here",
    Split(PIXELS, None),
    Split(PIXELS[:9], None),
    Split(PIXELS[:0], None),
    (8, 8),
    None,
)
PARAMS = autoencoder.init_tutorial(1, 64, 5)


@pytest.mark.parametrize("cost", ["cross-entropy", "squared-error"])
def test_measures_are_those_of_the_clean_validation_images(cost):
    how = Denoising(0.3, "masking", cost, "sigmoid")
    measures = da.measures(PARAMS, DIGITS, how, 255.0)
    x, W = PIXELS[:9] / 255, np.asarray(PARAMS.W, float)
    y = sigmoid(x @ W)
    z = sigmoid(y @ W.T)
    if cost == "cross-entropy":
        expected = -(x * np.log(z) + (1 - x) * np.log(1 - z)).sum(axis=1).mean()
    else:
        expected = ((x - z) ** 2).sum(axis=1).mean()
    # float32 sums of 64 terms
    assert measures["valid_cost_uncorrupted"] == pytest.approx(expected, rel=1e-5)
    local = evaluation.locality(PARAMS.W, (8, 8))
    assert measures["locality"] == np.median(local)
    assert measures["local_filters"] == np.mean(local > 0.5)
    assert measures["dead_units"] == np.mean(y.std(axis=0) < 0.01)


def test_measures_need_no_validation_images_and_no_image_shape():
    vectors = DIGITS._replace(valid=DIGITS.test, image_shape=None)
    how = Denoising(0.3, "masking", "cross-entropy", "sigmoid")
    measures = da.measures(PARAMS._replace(W=0 * PARAMS.W), vectors, how, 255.0)
    assert measures == {"dead_units": 1}


def test_reconstructions_are_of_the_corrupted_images():
    x = jnp.asarray(PIXELS / np.float32(255))
    for decoder, output in (("sigmoid", jax.nn.sigmoid), ("linear", lambda a: a)):
        how = Denoising(0.3, "masking", "squared-error", decoder)
        x_tilde, z = da.reconstructions(PARAMS, x, how, key())
        np.testing.assert_array_equal(x_tilde, corruption.mask(key(), x, 0.3))
        code = autoencoder.encode(PARAMS, x_tilde)
        np.testing.assert_allclose(z, output(code @ PARAMS.W.T), rtol=1e-5, atol=1e-6)


def test_a_figures_name_says_everything_that_is_not_the_tutorials():
    assert da.figure_suffix(Settings(), "mnist", 123, None) == ""
    other = Settings(
        model=Model(n_hidden=9, tied=False), corruption=Corruption((0.125,), "gaussian")
    )
    suffix = da.figure_suffix(other.resolved("digits", 100), "digits", 7, None)
    assert suffix == "_digits_n-hidden-9_untied_noise-gaussian_epochs-7500_seed-7"
    assert da.percent(0.125) == "12.5"


def test_a_name_that_no_system_takes_is_cut_and_told_apart_by_a_hash():
    long = {da.file_name(f"filters_{'é' * 200}{i}") for i in range(3)}
    assert len(long) == 3
    for name in long:
        assert name.startswith("filters_éé") and len(name.encode()) <= 200
    assert da.file_name("n" * 200) == "n" * 200
    assert {len(da.file_name(f"a{c}")) for c in ("\x1b", "\udcff", "\n")} == {11}
    assert da.file_name("a\x1b").startswith("a_-")


@pytest.mark.slow
def test_names_that_cannot_be_files_or_formulas_do_not_end_a_run(train_small):
    name, levels = f"$x^{{$\x1b{'n' * 240}"[:240], [f"{i / 1000:g}" for i in range(1, 31)]
    for label in ("$x^{$", "\\", "b\x1b[31m", os.fsdecode(b"z\xff\xfe")):
        Path(name, label).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(PIXELS[i].reshape(8, 8)).save(Path(name, label, f"{i}.png"))
    size = ("--n-hidden", "4", "--epochs", "1")
    status, _, err = train_small("--corruption", *levels, "--run-dir", "r", data=name, size=size)
    assert (status, err) == (0, "")
    results = read_json("r/results.json")
    drawn = [path for result in results for path in result["figures"]]
    assert len(results) == 30 and len(set(drawn)) == 4 * 30 + 1
    assert all(Path(path).is_file() and path.isprintable() for path in drawn)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--corruption 0.1 0.10000000000001", "differ in the ten digits"),
        ("--n-hidden 1000000000000", "TB needed"),
        ("--seeds 1000000000", "TB needed"),
        ("--run-dir taken", "holds a run already"),
        (f"--output-dir {'n' * 300}", "one of 300 letters"),
        (f"--output-dir new/{'n' * 300}", "one of 304 letters"),
        (f"--output-dir {'n/' * 2000}", "a path of 3800 bytes"),
        ("--output-dir small.npz/new", "cannot write small.npz/new: Not a directory"),
    ],
)
def test_a_refused_command_leaves_nothing_behind(train_small, flags, words):
    Path("taken").mkdir()
    Path("taken/config.json").write_text("{}")
    before = {path for path in Path().rglob("*") if path.parts[0] != "taken"}
    status, _, err = train_small("--run-dir", "new/r", "--output-dir", "new/f", *flags.split())
    assert status == 2
    assert_one_line(err, words)
    assert {path for path in Path().rglob("*") if path.parts[0] != "taken"} == before


def test_the_memory_that_a_run_needs_is_that_of_its_models_and_images():
    # 64 x 5 weights, 5 + 64 biases, in 4 bytes; sgd has a gradient beside them
    settings = Settings(model=Model(n_hidden=5), training=Training(epochs=1))
    models, images = da.needs(settings.resolved("toy", 30), DIGITS)
    assert (models.n_bytes, images.n_bytes) == (2 * 4 * (64 * 5 + 5 + 64), 30 * 64)
    # two levels and three seeds, untied, adam with two more numbers for each
    settings = Settings(
        model=Model(n_hidden=5, tied=False, decoder="linear", standardize=True),
        corruption=Corruption((0.1, 0.2)),
        training=Training(epochs=1, seeds=3, optimizer="adam", precision="float64"),
    )
    models, images = da.needs(settings.resolved("toy", 30), DIGITS)
    assert models.n_bytes == 6 * 4 * 8 * (2 * 64 * 5 + 5 + 64)
    assert images.n_bytes == 4 * 64 * (30 + 30 + 9)


def test_a_run_that_does_not_fit_is_refused_with_advice_that_works(train_small, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 2_000_000)
    size = ("--n-hidden", "4000", "--epochs", "1")
    status, out, err = train_small("--run-dir", "r", size=size)
    assert (status, out) == (2, "") and not Path("r").exists()
    words = "at most 2 MB, which is free, got 2.1 MB needed", "for the model; lower --n-hidden"
    assert_one_line(err, *words)
    assert train_small("--run-dir", "r", size=("--n-hidden", "40", "--epochs", "1")).status == 0


def test_vectors_are_not_drawn_as_images(train_small):
    rows = np.random.default_rng(0).random((60, 65), np.float32)
    np.save("vectors.npy", rows)
    status, out, _ = train_small("--run-dir", "r", "--animate", data="vectors.npy")
    assert status == 0
    (curve,) = files("filters")
    assert curve.startswith("cost_corruption_30_vectors")
    assert "no sheets of images, since the data are vectors" in out
    assert read_json("r/results.json")["figures"] == [f"filters/{curve}"]
    assert not Path("r/frames").exists()


def test_labels_say_the_noise_the_levels_and_the_units(monkeypatch):
    drawn = {}

    def save(path, figure, about):
        drawn[path] = figure
        return path

    monkeypatch.setattr(da.plots, "save", save)
    settings = Settings(
        corruption=Corruption((0.0, 0.125), "gaussian"),
        training=Training(cost="squared-error", epochs=2, seeds=2),
    )
    run = Run(settings, DIGITS, Path("r"), [], "command")
    rows = [{"epoch": i, "cost": 1.0, "costs": [i, 1.0, 2.0, 3.0]} for i in (1, 2)]
    path = da._draw_costs(run, rows)
    assert path.name.startswith("cost_corruption_0_12.5_toy") and "_seeds-2.png" in path.name
    (axes,) = drawn[path].axes
    first = axes.get_lines()[0]
    np.testing.assert_array_equal(first.get_xydata(), [[1, 1], [2, 2]])
    assert len(axes.get_lines()) == 4
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["σ = 0", "σ = 0.125"]
    assert "squared units per image" in axes.get_ylabel()
    assert "Gaussian noise, σ = 0, σ = 0.125, 2 seeds" in axes.get_title()


@pytest.mark.parametrize("tied", [True, False])
def test_initial_parameters_are_the_tutorials_or_jaxs(tied):
    model = Model(n_hidden=5, tied=tied)
    tutorial = da.initial_params(Settings(model=model), 3, 64)
    expected = autoencoder.init_tutorial(3, 64, 5, tied=tied)
    jax.tree.map(np.testing.assert_array_equal, tutorial, expected)
    settings = Settings(model=Model(n_hidden=5, tied=tied, init="jax"))
    other = [da.initial_params(settings, seed, 64) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(other[0].W, other[1].W)
    assert (other[0].W != other[2].W).mean() > 0.9 and (other[0].W != tutorial.W).mean() > 0.9
