"""A few small models of two seeds, trained once for the tests of experiments."""

from dataclasses import replace

import jax
import pytest

from dae_jax import datasets
from dae_jax.datasets import Dataset
from dae_jax.deep import Architecture
from dae_jax.experiments.data import Images, prepare
from dae_jax.experiments.measures import Outcome
from dae_jax.experiments.models import PCA, Autoencoder, Finetuned, Recipe, Setup

ONE = Autoencoder(
    Architecture((784, 12), tied=True), Recipe(2, 20, "sgd", 0.1), level=0.3, gain=4.0
)
MODELS = {
    "pca": PCA(3),
    "deep": Autoencoder(
        Architecture((784, 20, 3), hidden="elu", code="linear"),
        Recipe(3, 50),
        objective="squared-error",
    ),
    "one": ONE,
    "one fine-tuned": Finetuned("one", Recipe(4, 20, "sgd", 0.5)),
}


@pytest.fixture(autouse=True)
def _standard_promotion(standard_promotion):
    """Adam and the schedules of Optax mix integers and floats."""


@pytest.fixture(scope="session")
def dataset(tmp_path_factory) -> Dataset:
    """The first 400, 100 and 100 digits of the sample."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
        whole = datasets.load("mnist-sample")

    def first(split, n):
        return split._replace(images=split.images[:n].copy(), labels=split.labels[:n].copy())

    return whole._replace(
        train=first(whole.train, 400), valid=first(whole.valid, 100), test=first(whole.test, 100)
    )


@pytest.fixture(scope="session")
def setup(dataset) -> Setup:
    """The small models, fitted with two seeds."""
    setup = Setup(prepare(dataset, Images()), (1, 2))
    with jax.numpy_dtype_promotion("standard"):
        for name, model in MODELS.items():
            setup = replace(setup, fitted={**setup.fitted, name: model.train(setup, name)})
    return setup


@pytest.fixture(scope="session")
def outcome(setup) -> Outcome:
    """The small models of the first seed, and their data."""
    return Outcome(setup.data, 1, {name: fitted[0] for name, fitted in setup.fitted.items()})
