"""The declared experiments, and the committed reports of all of them."""

import math
import os
import subprocess
import sys

import pytest

from dae_jax.experiments import catalogue, measures, reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.experiment import declared
from dae_jax.experiments.models import Finetuned, Model
from helpers import ROOT

RESULTS = ROOT / "results"


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_claims_numbers_of_its_own_models(name):
    experiment = EXPERIMENTS[name]
    assert experiment.claims and experiment.pictures and experiment.measures and experiment.what
    assert len(set(experiment.seeds)) == 3
    for claim in experiment.claims:
        assert math.isfinite(claim.low) or math.isfinite(claim.high)
        assert claim.low < claim.high
        assert claim.number.split(":")[0] in experiment.models
    assert len({claim.number for claim in experiment.claims}) == len(experiment.claims)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_model_can_be_trained_after_those_that_it_needs(name):
    trained = []
    for called, model in EXPERIMENTS[name].models.items():
        assert isinstance(model, Model)
        assert not isinstance(model, Finetuned) or model.of in trained
        trained.append(called)


# ---- the committed reports -------------------------------------------------------------------


@pytest.fixture(scope="module")
def committed():
    return reports.read(EXPERIMENTS, RESULTS)


def test_every_experiment_has_a_committed_report(committed):
    assert list(committed) == list(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_report_is_of_mnist_and_of_the_models_as_declared(committed, name):
    report, experiment = committed[name], EXPERIMENTS[name]
    assert report["experiment"] == name and report["command"].endswith(f"reproduce {name}")
    assert report["data"]["name"] == "mnist" and report["published_applies"]
    assert report["seeds"] == list(experiment.seeds)
    assert report["models"] == {k: declared(model) for k, model in experiment.models.items()}
    for called in report["curves"]:
        assert called in experiment.models


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_report_has_every_claimed_number(committed, name):
    numbers = committed[name]["numbers"]
    for claim in EXPERIMENTS[name].claims:
        number = numbers[claim.number]
        values = number["values"]
        assert len(values) == 3 and all(map(math.isfinite, values))
        assert number["mean"] == pytest.approx(sum(values) / 3)
        recorded = next(c for c in committed[name]["claims"] if c["number"] == claim.number)
        assert recorded["measured"] == claim.value(number)
        if recorded["band"] == claim.band:
            assert recorded["holds"] == claim.holds(recorded["measured"])


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_figures_are_there(committed, name):
    figures = committed[name]["figures"]
    assert figures == [f"{picture}.png" for picture in EXPERIMENTS[name].pictures]
    for figure in figures:
        assert (RESULTS / name / figure).stat().st_size > 500


# ---- imports ---------------------------------------------------------------------------------


def test_large_libraries_are_imported_only_by_the_models_that_need_them():
    assert "flax" not in vars(catalogue) and "sklearn" not in vars(measures)


@pytest.mark.slow
def test_the_experiments_are_declared_without_flax_or_scikit_learn():
    code = (
        "import sys; from dae_jax.experiments import catalogue;"
        "assert not {'flax', 'sklearn', 'skimage'} & set(sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
