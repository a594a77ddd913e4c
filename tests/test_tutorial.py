"""Helpers of the tutorial pages: their size, their data, and what they show."""

import numpy as np
import pytest

from dae_jax import autoencoder, datasets, training, tutorial
from dae_jax.datasets import mnist


@pytest.mark.parametrize(("value", "quick"), [("quick", True), ("full", False), (None, False)])
def test_the_size_of_a_page_is_that_of_the_environment(monkeypatch, value, quick):
    monkeypatch.delenv("DAE_JAX_TUTORIAL", raising=False)
    if value is not None:
        monkeypatch.setenv("DAE_JAX_TUTORIAL", value)
    assert tutorial.quick() is quick
    assert tutorial.size(50, 2) == (2 if quick else 50)


def test_a_quick_page_learns_from_the_first_images_of_the_sample(monkeypatch):
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "quick")
    whole, few = datasets.load("mnist-sample"), tutorial.mnist()
    assert few.name == "mnist-sample" and len(few.train.images) == tutorial.QUICK_IMAGES
    for part, all_of_it in zip(few.train, whole.train, strict=True):
        np.testing.assert_array_equal(part, all_of_it[: tutorial.QUICK_IMAGES])
    np.testing.assert_array_equal(few.test.images, whole.test.images)


def test_a_full_page_learns_from_mnist_or_the_sample(monkeypatch):
    def unavailable():
        raise mnist.UnavailableError("MNIST")

    monkeypatch.delenv("DAE_JAX_TUTORIAL", raising=False)
    monkeypatch.setattr(mnist, "read_mnist", unavailable)
    assert len(tutorial.mnist().train.images) == 4000


def test_the_numbers_of_a_page_apply_at_full_size_on_all_of_mnist(monkeypatch):
    sample = datasets.load("mnist-sample")
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "full")
    assert tutorial.full(sample._replace(name="mnist")) and not tutorial.full(sample)
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "quick")
    assert not tutorial.full(sample._replace(name="mnist"))


def test_a_sheet_is_enlarged_without_smoothing():
    sheet = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = np.asarray(tutorial.show(sheet, zoom=3))
    np.testing.assert_array_equal(image, sheet.repeat(3, axis=0).repeat(3, axis=1))


def test_source_code_is_that_of_the_function_itself():
    assert "def encode(" in tutorial.source(autoencoder.encode).data
    # compiled functions too
    assert "def _epoch(" in tutorial.source(training.run_epoch).data
