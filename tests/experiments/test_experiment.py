"""Claims and the runner: bands, reports, and declarations as source code."""

import json
import math
from functools import partial

import numpy as np
import pytest
from PIL import Image

from dae_jax.deep import Architecture
from dae_jax.experiments import experiment, measures, pictures
from dae_jax.experiments.experiment import Claim, Experiment, declared, in_words
from dae_jax.experiments.models import PCA, Autoencoder, Recipe, Stack
from helpers import files, read_json


def test_a_claim_holds_inside_its_band_only():
    claim = Claim("n", "1", low=0.5, high=1.5)
    assert claim.holds(0.5) and claim.holds(1.5)
    assert not claim.holds(0.49) and not claim.holds(1.51) and not claim.holds(math.nan)
    assert claim.band == "0.5 to 1.5"
    assert Claim("n", "1", high=2).band == "≤ 2" and Claim("n", "1", low=2).band == "≥ 2"
    assert Claim("test error", "1 %", low=0.005, high=0.0165).band == "0.50 % to 1.65 %"


def test_a_claim_is_of_the_mean_or_of_the_first_seed():
    numbers = {"mean": 2.0, "values": [1.0, 2.0, 3.0]}
    assert Claim("n", "1").value(numbers) == 2 and Claim("n", "1", of="first").value(numbers) == 1


def test_shares_are_in_per_cent_and_large_numbers_have_commas():
    assert in_words("a: test error", 0.01234) == "1.23 %"
    assert (
        in_words("a: cost", 65.60412) == "65.6" and in_words("a: cost", 65.60412, 7) == "65.60412"
    )
    assert in_words("a: total cost", 652088.7) == "652,089"


def test_a_declaration_is_shown_as_source_code_without_its_defaults():
    model = Autoencoder(
        Architecture((784, 30), code="linear"),
        Recipe(5, 128, decay="cosine"),
        after=Stack(Recipe(1, 20), (0.1,), level=0.1),
    )
    assert declared(model) == (
        "Autoencoder(architecture=Architecture(sizes=(784, 30), code='linear'), "
        "recipe=Recipe(epochs=5, batch_size=128, decay='cosine'), "
        "after=Stack(recipe=Recipe(epochs=1, batch_size=20), learning_rates=(0.1,), level=0.1))"
    )
    assert declared(partial(in_words, "a", digits=3)) == "in_words('a', digits=3)"


TOY = Experiment(
    what="a toy",
    source="nowhere",
    models={"pca": PCA(2)},
    measures=(measures.pixel_error("pca"),),
    pictures={
        "plane": pictures.scatter({"pca": "PCA"}),
        "reconstructions": pictures.reconstructions("pca"),
    },
    claims=(
        Claim("pca: training error per pixel", "?", high=0.1),
        Claim("pca: held-out error per pixel", "?", high=1e-9, of="first"),
    ),
    seeds=(1, 2),
    note="a note",
)


def test_a_run_writes_its_report_and_its_pictures(dataset, tmp_path):
    report = experiment.run("toy", TOY, dataset, tmp_path, "the command")
    assert files(tmp_path) == {"report.json", "plane.png", "reconstructions.png"}
    assert json.loads(json.dumps(report)) == read_json(tmp_path / "report.json")
    assert (report["experiment"], report["command"], report["seeds"]) == (
        "toy",
        "the command",
        [1, 2],
    )
    assert report["data"] == {"name": "mnist-sample", "train": 400, "test": 100}
    assert report["models"] == {"pca": "PCA(n_components=2)"}
    assert report["figures"] == ["plane.png", "reconstructions.png"] and report["curves"] == {}
    number = report["numbers"]["pca: training error per pixel"]
    assert number["mean"] == pytest.approx(np.mean(number["values"])) and number["sd"] == 0
    # on other data than MNIST no claim can fail
    assert not report["published_applies"]
    assert [claim["holds"] for claim in report["claims"]] == [True, True]
    with Image.open(tmp_path / "plane.png") as image:
        about = json.loads(image.text["dae_jax"])
    assert (about["experiment"], about["seed"], about["data"]) == ("toy", 1, "mnist-sample")


@pytest.mark.slow
def test_the_published_numbers_apply_to_mnist_with_the_declared_epochs(dataset, tmp_path):
    mnist = dataset._replace(name="mnist")
    report = experiment.run("toy", TOY, mnist, tmp_path, "")
    assert report["published_applies"]
    assert [claim["holds"] for claim in report["claims"]] == [True, False]
    assert not experiment.run("toy", TOY, mnist, tmp_path, "", epochs=1)["published_applies"]
