"""The declared experiments, and those of their reports that are committed."""

import importlib.util
import math
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

from dae_jax.deep import Architecture
from dae_jax.experiments import catalogue, claims, data, measures, models, reports
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.experiments.claims import Improved, Reproduced, Shown, judged
from dae_jax.experiments.data import Patches
from dae_jax.experiments.experiment import VERSION, declaration, declared, fingerprint
from dae_jax.experiments.ladder import Ladder
from dae_jax.experiments.models import Autoencoder, Chosen, Finetuned, Model, Network, slug
from helpers import ROOT, read_json, refused

RESULTS = ROOT / "results"
# A seed of these takes more than three minutes, or more than an hour of a core; others have ten.
SEEDS = {"contractive": 5, "lenet": 5, "ladder-100": 5, "ladder-1000": 3, "ladder-all": 3}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_claims_numbers_of_its_own_models(name):
    experiment = EXPERIMENTS[name]
    assert experiment.claims and experiment.pictures and experiment.measures and experiment.what
    for claim in experiment.claims:
        assert isinstance(claim, Reproduced | Improved | Shown)
        assert claim.number.split(":")[0] in experiment.models
    assert len({claim.number for claim in experiment.claims}) == len(experiment.claims)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_there_are_seeds_enough_for_every_claim(name):
    experiment = EXPERIMENTS[name]
    assert len(set(experiment.seeds)) == len(experiment.seeds) >= 1
    claims.check_seeds(experiment.claims, experiment.seeds)
    for claim in experiment.claims:
        if isinstance(claim, Reproduced) and not claim.exact:
            assert len(experiment.seeds) >= SEEDS.get(name, 10)
        if isinstance(claim, Improved):
            assert len(experiment.seeds) >= 3 and claim.differs and claim.chosen


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_model_can_be_trained_after_those_that_it_needs(name):
    trained = []
    for called, model in EXPERIMENTS[name].models.items():
        assert isinstance(model, Model)
        assert not isinstance(model, Finetuned) or model.of in trained
        trained.append(called)


def titles(name, model):
    """The titles of all trainings of a model."""
    if isinstance(model, Chosen):
        numbered = [f"{name} {i + 1}" for i in range(len(model.autoencoders))]
        each = [*numbered, f"{name} chosen"]
        tunings = [f"{t}, fine-tuning {j + 1}" for t in each for j in range(len(model.recipes))]
        return [*each, *tunings]
    layers = model.after.learning_rates if isinstance(model, Autoencoder) and model.after else ()
    return [name, *(f"{name}, layer {k + 1}" for k in range(len(layers)))]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_no_two_trainings_of_an_experiment_share_their_checkpoints(name):
    every = [t for called, model in EXPERIMENTS[name].models.items() for t in titles(called, model)]
    folders = [slug(title) for title in every]
    assert len(set(folders)) == len(folders) and all(re.search("[a-z0-9]", f) for f in folders)


# ---- declarations ----------------------------------------------------------------------------


def functions():
    """The functions of the catalogue by the name that a declaration gives them.

    Called without a seed, they wait for it, as a `Network` has them.
    """
    found = {name.strip("_"): value for name, value in vars(catalogue).items() if callable(value)}
    return {
        name: partial(partial, value)
        for name, value in found.items()
        if not isinstance(value, type | partial)
    }


NAMES = {**functions(), **vars(models), **vars(data), **vars(claims)}
NAMES |= {"Architecture": Architecture, "Ladder": Ladder}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_declaration_is_the_source_code_of_the_experiment(name):
    """Read back, it gives the same models, data and claims: nothing of them is left out."""
    experiment, declares = EXPERIMENTS[name], declaration(EXPERIMENTS[name])
    assert eval(declares["images"], NAMES) == experiment.images
    assert tuple(declares["seeds"]) == experiment.seeds
    for called, model in experiment.models.items():
        words = declares["models"][called]
        assert declared(eval(words, NAMES)) == words == declared(model)
    for words, claim in zip(declares["claims"], experiment.claims, strict=True):
        assert eval(words, NAMES) == claim
    assert " at 0x" not in str(declares) and "<" not in str(declares)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_measure_is_declared_by_the_call_that_made_it(name):
    experiment = EXPERIMENTS[name]
    for words, measure in zip(
        declaration(experiment)["measures"], experiment.measures, strict=True
    ):
        assert re.fullmatch(r"(\w+)\(.*\)", words) and words.split("(")[0] in measures.__all__
        assert declared(eval(words, vars(measures))) == words == declared(measure)
    # of the models of the experiment
    quoted = set(re.findall(r"'([^']+)'", str(declaration(experiment)["measures"])))
    assert quoted & set(experiment.models)


def test_fingerprints_differ_and_are_the_same_when_the_catalogue_is_loaded_again():
    spec = importlib.util.spec_from_file_location("again", catalogue.__file__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    prints = {name: fingerprint(declaration(one)) for name, one in EXPERIMENTS.items()}
    assert len(set(prints.values())) == len(prints)
    assert prints == {name: fingerprint(declaration(e)) for name, e in again.EXPERIMENTS.items()}


# ---- networks ---------------------------------------------------------------------------------


def made(name, called):
    pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")
    model = EXPERIMENTS[name].models[called]
    assert isinstance(model, Network)
    return model.module(3)


def layers(module):
    net = getattr(module, "classifier", module)
    return [*getattr(module, "convolutions", []), *net.hidden, net.top]


@pytest.mark.parametrize(
    ("name", "called", "shapes"),
    [
        ("softmax", "1,000 steps", [(784, 10)]),
        ("logistic-sgd", "logistic_sgd", [(784, 10)]),
        ("mlp", "mlp", [(784, 500), (500, 10)]),
        ("mlp-dropout", "mlp", [(784, 500), (500, 10)]),
        ("mlp-3000", "3,000 steps", [(784, 300), (300, 10)]),
        ("lenet", "lenet", [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]),
        ("lenet-replay", "lenet", [(5, 5, 1, 20), (5, 5, 20, 50), (800, 500), (500, 10)]),
        (
            "lenet-2000",
            "2,000 steps",
            [(5, 5, 1, 32), (5, 5, 32, 64), (7 * 7 * 64, 1024), (1024, 10)],
        ),
    ],
)
def test_a_network_has_the_published_layers_and_initial_values(name, called, shapes):
    module = made(name, called)
    kernels = [np.asarray(layer.kernel[...]) for layer in layers(module)]
    assert [kernel.shape for kernel in kernels] == shapes
    zero_top = name != "lenet-2000"
    assert kernels[-1].any() == (not zero_top) and all(kernel.any() for kernel in kernels[:-1])
    bias = 0.1 if name == "lenet-2000" else 0.0
    for layer in layers(module):
        np.testing.assert_array_equal(layer.bias[...], np.float32(bias))
    normal = {"mlp-3000": kernels[:1], "lenet-2000": kernels}.get(name, [])
    for kernel in normal:
        # truncated at two deviations of .1, which leaves .8796 of the deviation
        assert np.abs(kernel).max() <= 0.2
        assert kernel.std() == pytest.approx(0.08796, rel=5 / np.sqrt(2 * kernel.size))


@pytest.mark.parametrize(
    ("name", "called", "dropout", "activation"),
    [
        ("mlp", "mlp", (0.0, 0.0), "tanh"),
        ("mlp-dropout", "mlp", (0.1, 0.25), "tanh"),
        ("mlp-3000", "3,000 steps", (0.0, 0.25), "relu"),
        ("lenet", "lenet", (0.0, 0.0), "tanh"),
        ("lenet-2000", "2,000 steps", (0.0, 0.5), "relu"),
    ],
)
def test_a_network_has_the_published_units(name, called, dropout, activation):
    module = made(name, called)
    net = getattr(module, "classifier", module)
    assert (net.input_dropout.rate, net.dropout.rate) == dropout
    for part in {id(module): module, id(net): net}.values():
        at = part.activation(np.float32([-1, 2]))
        expected = [np.tanh(-1), np.tanh(2)] if activation == "tanh" else [0, 2]
        np.testing.assert_allclose(at, expected, rtol=1e-6)


def test_the_seed_of_a_network_decides_its_weights():
    module = EXPERIMENTS["mlp"].models["mlp"].module
    pytest.importorskip("flax.nnx", reason="an extra: pip install '.[experiments]'")
    r = np.sqrt(6.0 / 1284)
    expected = np.random.RandomState(1234).uniform(-r, r, (784, 500)).astype(np.float32)
    np.testing.assert_array_equal(module(1234).hidden[0].kernel[...], expected)
    assert EXPERIMENTS["mlp"].seeds == (1234,)
    other = EXPERIMENTS["mlp-3000"].models["3,000 steps"].module
    first, again, second = (np.asarray(other(s).hidden[0].kernel[...]) for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != second).mean() > 0.99


def test_the_ladder_networks_have_the_published_weights_and_noise():
    def weights(name, called="ladder"):
        model = EXPERIMENTS[name].models[called]
        assert isinstance(model, Ladder) and model.hidden == (1000, 500, 250, 250, 250)
        assert len(model.weights) == 7
        return model.weights[:3], set(model.weights[3:]), model.noise, model.labels

    assert weights("ladder-100") == ((1000, 10, 0.1), {0.1}, (0.3, 0.3), 100)
    assert weights("ladder-1000") == ((2000, 20, 0.1), {0.1}, (0.3, 0.2), 1000)
    assert weights("ladder-all") == ((1000, 1, 0.01), {0.01}, (0.3, 0.3), None)
    assert weights("ladder-models", "full") == weights("ladder-100")
    assert weights("ladder-models", "bottom") == ((5000, 0, 0), {0}, (0.3, 0.3), 100)
    assert weights("ladder-models", "Gamma") == ((0, 0, 0), {0, 0.5}, (0.3, 0.3), 100)


# ---- the committed reports -------------------------------------------------------------------

COMMITTED = {
    name: read_json(RESULTS / name / "report.json")
    for name in EXPERIMENTS
    if (RESULTS / name / "report.json").exists()
}
OLD = [name for name, report in COMMITTED.items() if report.get("version", 1) != VERSION]
STALE = [
    name
    for name, report in COMMITTED.items()
    if name not in OLD and reports.stale(EXPERIMENTS[name], report)
]


@pytest.fixture
def committed(request):
    """The committed report of today's declaration."""
    name = request.getfixturevalue("name")
    for fault, names in (("another version", OLD), ("another declaration", STALE)):
        if name in names:
            pytest.skip(f"the report of {name} is of {fault}")
    if name not in COMMITTED:
        pytest.skip(f"there is no report of {name}")
    return COMMITTED[name]


def test_committed_reports_are_read_unless_they_are_of_an_older_version():
    if OLD:
        words = (f"a report of version {VERSION}", "make it again")
        message = refused(lambda: reports.read(EXPERIMENTS, RESULTS), *words)
        assert any(f"{name}/report.json" in message for name in OLD)
    else:
        assert reports.read(EXPERIMENTS, RESULTS) == COMMITTED


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_what_is_not_measured_today_says_so_in_the_table(name):
    """Nothing stands in for a report that is missing, or of another declaration."""
    if OLD:
        pytest.skip(f"no table can be made beside reports of another version: {', '.join(OLD)}")
    begin, end = reports.MARKS
    table = (ROOT / "docs" / "results.md").read_text().split(begin)[1].split(end)[0]
    measured = name in COMMITTED and name not in STALE
    link = f"[`{name}`](../results/{name}/report.json)"
    assert (link in table) == measured
    if not measured:
        lines = table.splitlines()
        (first, *_) = (i for i, line in enumerate(lines) if line.startswith(f"| `{name}` |"))
        assert "| not measured |" in lines[first]


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_report_is_of_mnist_and_of_todays_declaration(committed, name):
    experiment = EXPERIMENTS[name]
    assert committed["experiment"] == name and committed["published_applies"] is True
    assert re.fullmatch(
        rf"python -m dae_jax\.reproduce {name}( --data mnist)?", committed["command"]
    )
    assert committed["declaration"] == declaration(experiment)
    assert committed["fingerprint"] == fingerprint(committed["declaration"])
    images = experiment.images
    if isinstance(images, Patches):
        expected = {"name": "own photographs", "train": images.train, "test": images.held_out}
        assert committed["data"] == expected
        return
    n_train = (60_000 if images.with_valid else 50_000) - images.skip
    n_test = 10_000 // images.batches_of * images.batches_of
    assert committed["data"] == {"name": "mnist", "train": n_train, "test": n_test}
    assert committed["processor"] and committed["versions"]["jax"]
    assert set(committed["curves"]) <= set(experiment.models)
    chosen = {called for called, model in experiment.models.items() if isinstance(model, Chosen)}
    assert set(committed.get("chosen", {})) == chosen


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_report_has_every_claimed_number_of_every_seed(committed, name):
    numbers, experiment = committed["numbers"], EXPERIMENTS[name]
    for claim in experiment.claims:
        values = numbers[claim.number]["values"]
        assert len(values) == len(experiment.seeds) and all(map(math.isfinite, values))
        assert numbers[claim.number]["mean"] == pytest.approx(np.mean(values), rel=1e-9)
        if len(values) > 1:
            assert numbers[claim.number]["sd"] == pytest.approx(np.std(values, ddof=1), abs=1e-12)
    expected = [judged(claim, numbers) for claim in experiment.claims]
    for row, today in zip(committed["claims"], expected, strict=True):
        interval = today["interval"]
        same = {"interval": None if interval is None else pytest.approx(interval)}
        assert row == today | same


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_figures_are_there_and_no_others(committed, name):
    assert committed["figures"] == [f"{picture}.png" for picture in EXPERIMENTS[name].pictures]
    folder = RESULTS / name
    assert {path.name for path in folder.iterdir()} == {"report.json", *committed["figures"]}
    assert all((folder / figure).stat().st_size > 500 for figure in committed["figures"])


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
