"""The experiments: what they measure against plain recomputation, and the command's manners."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

from dae_jax import console as command
from dae_jax import datasets, deep, reproduce
from dae_jax.deep import Architecture
from dae_jax.errors import require
from dae_jax.experiments import catalogue as experiments
from dae_jax.experiments import data as prepared
from dae_jax.experiments import laboratory
from dae_jax.experiments import measures as findings
from dae_jax.experiments import reports as published
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.claims import Claim
from dae_jax.experiments.data import Images
from dae_jax.experiments.laboratory import Laboratory, Recipe
from dae_jax.experiments.models import PCA, Autoencoder, Finetuned, Stack
from helpers import refused


@pytest.fixture(scope="module", autouse=True)
def _promotion_as_optax_needs_it():
    # Adam and the schedules of Optax mix integers and floats.
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def dataset():
    whole = datasets.load("mnist-sample")

    def some(split, n):
        return split._replace(images=split.images[:n], labels=split.labels[:n])

    return whole._replace(
        train=some(whole.train, 400), valid=some(whole.valid, 100), test=some(whole.test, 100)
    )


@pytest.fixture(scope="module")
def found(dataset):
    """A few small models of one seed."""
    data = prepared.prepare(dataset, Images())
    lab = Laboratory(data, (1, 2))
    models = {
        "pca": PCA(3),
        "deep": Autoencoder(
            Architecture((784, 20, 3), hidden="elu", code="linear"),
            Recipe(3, 50),
            objective="squared-error",
        ),
        "one": Autoencoder(
            Architecture((784, 12), tied=True), Recipe(2, 20, "sgd", 0.1), level=0.3, gain=4.0
        ),
        "one fine-tuned": Finetuned("one", Recipe(4, 20, "sgd", 0.5)),
    }
    for name, model in models.items():
        lab.fitted[name] = model.train(lab, name)
    return findings.Found(data, 1, {name: fitted[0] for name, fitted in lab.fitted.items()}), lab


def test_pca_is_numpys_and_its_error_is_what_is_left_of_the_variance(found):
    found, _ = found
    x = found.data.train.x.astype(np.float64)
    centred = x - x.mean(axis=0)
    left = np.linalg.svd(centred, compute_uv=False)[3:] ** 2
    numbers = findings.pixel_error("pca")(found)
    assert numbers["pca: training error per pixel"] == pytest.approx(left.sum() / x.size, rel=1e-4)


def test_one_number_is_set_beside_another(found):
    found, _ = found

    def two(found):
        return {"a": 6.0, "b": 4.0}

    assert findings.ratio(two, "a", "b", "times")(found) == {"a": 6, "b": 4, "times": 1.5}
    assert findings.difference(two, "a", "b", "above")(found) == {"a": 6, "b": 4, "above": 2}


def test_errors_per_image_and_per_pixel_are_of_the_reconstructions(found):
    found, _ = found
    model, x = found.models["deep"], found.data.test.x
    z = np.asarray(deep.reconstruct(model.params, x, Architecture((784, 20, 3), "elu", "linear")))
    numbers = findings.image_error("deep")(found)
    wanted = ((x - z) ** 2).sum(axis=1).mean()
    assert numbers["deep: error per image"] == pytest.approx(wanted, rel=1e-4)
    assert findings.total_cost("deep", per=0.5)(found)[
        "deep: total cost on test images"
    ] == pytest.approx(wanted * len(x) / 2, rel=1e-4)


def test_training_lowers_the_held_out_cost_and_the_reported_cost_is_the_clean_one(found):
    found, _ = found
    model = found.models["deep"]
    assert len(model.costs) == len(model.valid) == 3
    assert model.valid[-1] < model.valid[0]
    x = found.data.valid.x
    wanted = ((x - model.reconstruct(x)) ** 2).sum(axis=1).mean()
    assert model.valid[-1] == pytest.approx(wanted, rel=1e-4)


def test_neighbours_are_counted_as_a_plain_loop_counts_them(found):
    found, _ = found
    model, (x, y), test = found.models["pca"], found.data.train, found.data.test
    codes = model.encode(x)
    right = 0
    for code, label in zip(model.encode(test.x), test.labels, strict=True):
        nearest = y[np.argsort(((codes - code) ** 2).sum(axis=1), kind="stable")[:10]]
        right += int(np.bincount(nearest).argmax() == label)
    measured = findings.neighbours("pca")(found)["pca: 10-nearest-neighbour accuracy"]
    assert measured == pytest.approx(right / len(test.x), abs=0.02)  # ties at equal distances


def test_the_jacobian_norm_is_autodiffs(found):
    found, _ = found
    model = found.models["one"]
    encode = partial(deep.encode, architecture=Architecture((784, 12), tied=True))
    jacobians = jax.vmap(jax.jacrev(lambda x: encode(model.params, x)))(found.data.test.x)
    wanted = np.sqrt(np.square(jacobians).sum(axis=(1, 2))).mean()
    numbers = findings.jacobian_norm("one")(found)
    assert numbers["one: Jacobian norm"] == pytest.approx(wanted, rel=1e-4)


def test_fine_tuning_begins_at_the_encoder_and_learns(found):
    found, _ = found
    numbers = findings.errors("one fine-tuned")(found)
    assert numbers["one fine-tuned: test error"] < 0.5  # .9 by chance
    assert found.models["one fine-tuned"].best_epoch in (1, 2, 3, 4)
    W = found.models["one"].params.encoder[0].W
    moved = np.abs(found.models["one fine-tuned"].params.hidden[0].W - W)
    assert 0 < moved.mean() < np.abs(W).mean() / 2


def test_seeds_are_trained_together_as_if_alone(found, dataset):
    _, lab = found
    alone = Laboratory(lab.data, (2,))
    model = Autoencoder(
        Architecture((784, 12), tied=True), Recipe(2, 20, "sgd", 0.1), level=0.3, gain=4.0
    )
    (single,) = model.train(alone, "one")
    np.testing.assert_array_equal(
        single.params.encoder[0].W, lab.fitted["one"][1].params.encoder[0].W
    )


def test_a_stack_is_pretrained_layer_by_layer_and_unrolled(dataset):
    lab = Laboratory(prepared.prepare(dataset, Images(with_valid=True)), (1,))
    assert len(lab.data.images) == 500
    np.testing.assert_array_equal(lab.data.valid.x, lab.data.test.x)
    model = Autoencoder(
        Architecture((784, 30, 10), code="linear"),
        Recipe(1, 50, decay="cosine"),
        objective="squared-error",
        after=Stack(Recipe(8, 20, "sgd"), (0.1, 0.01), level=0.1),
    )
    (fitted,) = model.train(lab, "deep")
    fresh = Autoencoder(model.architecture, model.recipe, objective="squared-error")
    (untrained,) = fresh.train(lab, "fresh")
    assert fitted.valid[0] < 0.9 * untrained.valid[0]


def test_standardised_images_have_mean_0_and_come_back_as_pictures(dataset):
    data = prepared.prepare(dataset, Images("standardised"))
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-5)
    unit = prepared.prepare(dataset, Images())
    np.testing.assert_allclose(data.picture(data.test.x), unit.test.x, atol=1e-5)


def test_standardised_targets_have_no_best_logit(found):
    numbers = findings.standardised_targets(found[0])
    costs = [numbers[f"standardised: cost at logits of {far}"] for far in (1, 10, 100)]
    assert costs[2] < costs[1] < costs[0]
    assert numbers["standardised: share of targets outside [0, 1]"] > 0.5


def test_restoration_is_measured_against_the_clean_images(found):
    found, _ = found
    numbers = findings.restoration("pca", 0.5, n=20)(found)
    clean, seen = findings.noisy(found, 0.5, 20)
    assert np.std(seen - clean) == pytest.approx(0.5, rel=0.02)  # 15,680 draws: 3 sigma is .017

    def psnr(z):
        return np.mean(-10 * np.log10(np.square(np.clip(z, 0, 1) - clean).mean(axis=1)))

    assert numbers["noisy: PSNR"] == pytest.approx(psnr(seen), rel=1e-5)
    z = found.models["pca"].reconstruct(seen)
    assert numbers["pca: PSNR"] == pytest.approx(psnr(z), rel=1e-5)
    best = max(
        numbers[f"{who}: PSNR"] for who in ("median filter", "Gaussian blur", "non-local means")
    )
    above = numbers["pca: decibels above the best filter"]
    assert above == pytest.approx(numbers["pca: PSNR"] - best)


def test_the_spread_of_random_blocks_is_that_of_drawing_them(found):
    found, _ = found
    x = found.data.train.x
    each = ((x - found.models["pca"].reconstruct(x)) ** 2).sum(axis=1)
    rng = np.random.default_rng(5)
    averages = [
        np.mean([each[s : s + 50].sum() for s in rng.integers(0, len(x) - 49, len(x) // 50)])
        for _ in range(1000)
    ]
    (spread,) = findings.block_spread("pca", 50)(found).values()
    assert spread == pytest.approx(np.std(averages), rel=0.1)  # 1,000 draws each: 3 sigma is .1


def test_activity_is_that_of_the_codes_of_the_test_images(found):
    found, _ = found
    h = found.models["one"].encode(found.data.test.x)
    numbers = findings.activity("one")(found)
    assert numbers["one: mean activation"] == pytest.approx(h.mean(), rel=1e-5)
    assert numbers["one: variance of the activation"] == pytest.approx(h.var(), rel=1e-4)
    assert numbers["one: units ever active"] == 1


def test_the_principal_angle_is_0_for_the_components_and_90_across_them(found):
    found, _ = found
    components = found.models["pca"].params
    W = np.random.default_rng(0).normal(size=(3, 3))
    same = deep.Layer(W @ components, np.zeros(784))
    model = laboratory.Fitted(deep.Untied((same,), (same, deep.Layer(np.eye(784), same.b))))
    both = found._replace(models={"linear": model, "pca": found.models["pca"]})
    numbers = findings.principal_angle("linear", "pca")(both)
    assert numbers["linear: largest principal angle"] == pytest.approx(0, abs=0.1)
    # one direction turned away from all components
    turned = (W @ components).copy()
    aside = np.linalg.svd(components)[2][-1]
    turned[0] = aside * 10
    model = laboratory.Fitted(deep.Untied((same,), (deep.Layer(turned, same.b),)))
    numbers = findings.principal_angle("linear", "pca")(
        both._replace(models={**both.models, "linear": model})
    )
    assert numbers["linear: largest principal angle"] == pytest.approx(90, abs=0.1)


def test_the_best_epoch_is_the_one_whose_parameters_are_kept(found):
    found, _ = found
    model = found.models["one fine-tuned"]
    valid = found.data.valid
    error = float((model.classify(valid.x) != valid.labels).mean())
    assert error == min(model.valid) == model.valid[model.best_epoch - 1]


def test_the_first_images_can_be_left_out(dataset):
    data = prepared.prepare(dataset, Images(with_valid=True, skip=150))
    assert len(data.images) == len(data.train.labels) == 350
    np.testing.assert_array_equal(data.images[:250], dataset.train.images[150:])
    np.testing.assert_array_equal(data.train.labels[:250], dataset.train.labels[150:])


def test_tsne_of_too_few_images_is_one_line(found):
    found, _ = found
    few = found.data.test._replace(x=found.data.test.x[:30], labels=found.data.test.labels[:30])
    small = found._replace(data=replace(found.data, test=few))
    refused(lambda: findings.tsne(small, "pca"), "t-SNE", "perplexity", "got 30")


def test_divergence_is_one_line(dataset):
    lab = Laboratory(prepared.prepare(dataset, Images()), (1,))
    model = Autoencoder(
        Architecture((784, 5), hidden="relu", code="relu", output="linear"),
        Recipe(3, 20, "sgd", 1e6),
        objective="squared-error",
    )
    refused(lambda: model.train(lab, "wild"), "wild", "diverged", "learning rate", "1e+06")


def test_a_library_that_is_not_there_is_one_line():
    refused(lambda: require("no_such_library", "experiments"), "no_such_library", "[experiments]")


def test_data_without_labels_are_refused(dataset):
    without = dataset._replace(train=dataset.train._replace(labels=None))
    refused(lambda: prepared.prepare(without, Images()), "labelled", "use mnist")


def test_images_of_another_size_are_refused():
    refused(lambda: prepared.prepare(datasets.load("digits"), Images()), "28 x 28", "(8, 8)")


# Claims and reports.


def test_a_claim_holds_inside_its_band_only():
    claim = Claim("n", "1", low=0.5, high=1.5)
    assert claim.holds(0.5) and claim.holds(1.5)
    assert not claim.holds(0.49) and not claim.holds(1.51) and not claim.holds(math.nan)
    assert claim.band == "0.5 to 1.5"
    assert Claim("n", "1", high=2).band == "≤ 2" and Claim("n", "1", low=2).band == "≥ 2"
    assert Claim("test error", "1 %", low=0.005, high=0.0165).band == "0.50 % to 1.65 %"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_claims_something_of_its_own_models(name):
    experiment = EXPERIMENTS[name]
    assert experiment.claims and experiment.drawings and experiment.what
    assert len(experiment.seeds) == 3
    for claim in experiment.claims:
        assert math.isfinite(claim.low) or math.isfinite(claim.high)
        assert claim.number.split(":")[0] in experiment.models


def run(tmp_path, *argv):
    folder = str(tmp_path / "results")
    return command.run(reproduce.main, [*argv, "--output-dir", folder])


def test_the_command_reports_on_the_sample_and_says_that_it_did(tmp_path, capsys):
    args = ("deep-2d", "--data", "mnist-sample", "--epochs", "1", "--seeds", "1", "--check")
    assert run(tmp_path, *args) == 0
    assert "the published numbers do not apply" in capsys.readouterr().out
    folder = tmp_path / "results" / "deep-2d-mnist-sample"
    report = json.loads((folder / "report.json").read_text())
    assert report["published_applies"] is False and report["seeds"] == [1]
    assert report["command"].endswith("deep-2d --data mnist-sample --seeds 1 --epochs 1")
    for figure in report["figures"]:
        assert (folder / figure).stat().st_size > 500
    assert str(tmp_path) not in json.dumps(report)


@pytest.fixture
def reports(tmp_path):
    """A report of deep-2d, as if measured: the numbers of its claims, all inside their bands."""
    numbers = {}
    for claim in EXPERIMENTS["deep-2d"].claims:
        value = claim.low if math.isfinite(claim.low) else claim.high
        numbers[claim.number] = {"mean": value, "sd": 0.001, "values": [value] * 3}
    claims = [{"number": c.number, "of": c.of} for c in EXPERIMENTS["deep-2d"].claims]
    folder = tmp_path / "results" / "deep-2d"
    folder.mkdir(parents=True)
    report = {"numbers": numbers, "claims": claims, "seconds": 60.0}

    def write(**changed):
        for number, mean in changed.items():
            report["numbers"][number] = {"mean": mean, "sd": 0.001, "values": [mean] * 3}
        (folder / "report.json").write_text(json.dumps(report))

    write()
    return write


def test_check_is_0_inside_the_bands_and_1_outside(tmp_path, reports, capsys):
    assert run(tmp_path, "--check") == 0
    assert "4 of 4 numbers of 1 experiments" in capsys.readouterr().out
    reports(**{"deep: held-out error per pixel": 0.05})
    assert run(tmp_path, "--check") == 1
    told = capsys.readouterr().out
    assert "deep-2d: deep: held-out error per pixel is 0.05, not ≤ 0.0407" in told


def test_the_list_names_all_experiments(tmp_path, reports, capsys):
    assert run(tmp_path) == 0
    told = capsys.readouterr().out
    assert all(name in told for name in EXPERIMENTS)
    assert "not run" in told and ".0407" in told


def test_the_table_goes_between_its_marks(tmp_path, reports):
    path = tmp_path / "page.md"
    begin, end = published.MARKS
    path.write_text(f"before\n{begin}\nold\n{end}\nafter\n")
    assert run(tmp_path, "--table", str(path)) == 0
    text = path.read_text()
    assert text.startswith(f"before\n{begin}\n") and text.endswith(f"{end}\nafter\n")
    assert "old" not in text and "(results/deep-2d/report.json)" in text and "≤ 0.0407" in text
    path.write_text("no marks")
    assert run(tmp_path, "--table", str(path)) == 2
    assert path.read_text() == "no marks"


def test_what_the_user_can_mend_is_one_line(tmp_path, capsys):
    cases = {
        ("deep2d",): ("experiment", "deep2d", "did you mean deep-2d?"),
        ("--check",): ("--check", "reports", "got none", "--all"),
        ("deep-2d", "--seeds", "0"): ("--seeds", "at least 1"),
        ("deep-2d", "--epochs", "0"): ("--epochs", "at least 1"),
        ("--table", "/nowhere/README.md"): ("--table", "cannot read"),
        ("deep-2d", "--data", "/nowhere"): ("/nowhere",),
        ("deep-2d", "--pixel-scale", "256"): ("pixel-scale", "256", "leave it out"),
    }
    for argv, words in cases.items():
        assert run(tmp_path, *argv) == 2, argv
        told = capsys.readouterr()
        (line,) = told.err.splitlines()
        assert all(word in line for word in words), line
    assert not (tmp_path / "results").exists()


def test_a_broken_report_is_one_line(tmp_path, reports, capsys):
    (tmp_path / "results" / "deep-2d" / "report.json").write_text("{")
    assert run(tmp_path, "--check") == 2
    assert "make it again" in capsys.readouterr().err


def test_a_report_from_before_a_claim_is_one_line_too(tmp_path, reports, capsys):
    path = tmp_path / "results" / "deep-2d" / "report.json"
    report = json.loads(path.read_text())
    del report["numbers"]["pca: training error per pixel"]
    path.write_text(json.dumps(report))
    page = tmp_path / "README.md"
    page.write_text("\n".join(published.MARKS))
    for flags in ("--check",), ("--table", str(page)):
        capsys.readouterr()
        assert run(tmp_path, *flags) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "pca: training error per pixel" in line and "make it again" in line
    assert page.read_text() == "\n".join(published.MARKS)


def test_the_table_of_the_readme_is_the_one_that_the_command_makes(tmp_path):
    root = Path(__file__).parent.parent
    page = tmp_path / "README.md"
    page.write_text((root / "README.md").read_text())
    asked = ["--table", str(page), "--output-dir", str(root / "results")]
    assert command.run(reproduce.main, asked) == 0
    assert page.read_text() == (root / "README.md").read_text()


def test_the_committed_reports_are_of_mnist_and_of_the_experiments_as_declared():
    reports = published.read(EXPERIMENTS, Path(__file__).parent.parent / "results")
    for name, report in reports.items():
        assert report["data"]["name"] == "mnist" and report["published_applies"], name
        declared = {
            called: reproduce.declared(model) for called, model in EXPERIMENTS[name].models.items()
        }
        assert report["models"] == declared, name
        assert len(report["seeds"]) == 3, name


def test_the_experiments_need_no_flax_to_be_declared():
    # heavy libraries are imported where they are used
    assert "flax" not in vars(experiments) and "sklearn" not in vars(findings)
