"""The baselines: what they learn, how few labels they stand, and how their errors are told."""

import numpy as np
import pytest

from dae_jax import evaluation
from dae_jax.datasets import Split
from dae_jax.runs import baselines

RNG = np.random.default_rng(0)
CENTRES = RNG.integers(0, 256, (3, 20))


def blobs(n):
    """Noisy copies of three patterns, as bytes, and their classes."""
    labels = np.arange(n, dtype=np.int32) % 3
    noisy = CENTRES[labels] + RNG.normal(0, 30, (n, 20))
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def test_all_but_the_majority_learn_what_can_be_learned():
    train, test = blobs(30), blobs(90)
    results = baselines.predict(Split(*train), blobs(60)[0], test[0])
    assert [result.name for result in results] == list(baselines.NAMES)
    errors = {result.name: np.mean(result.predicted != test[1]) for result in results}
    assert errors.pop("majority class") == pytest.approx(2 / 3)
    assert max(errors.values()) < 0.05, errors
    assert all(result.seconds >= 0 for result in results)


def test_some_of_them_can_be_chosen():
    train = Split(*blobs(30))
    (one,) = baselines.predict(train, train.images[:0], blobs(9)[0], names=["majority class"])
    assert one.name == "majority class" and not one.predicted.any()


def test_one_image_of_a_class_is_enough_and_so_are_no_images_without_labels():
    images, labels = blobs(4)  # two of class 0, one each of the others
    results = baselines.predict(Split(images, labels), images[:0], blobs(9)[0])
    assert all(len(result.predicted) == 9 for result in results)


def test_they_see_pixels_as_the_network_does():
    images, labels = blobs(30)
    integers = baselines.predict(Split(images, labels), images[:0], images, 255.0)
    scaled = images / np.float32(255)
    floats = baselines.predict(Split(scaled, labels), scaled[:0], scaled)
    for one, other in zip(integers, floats, strict=True):
        np.testing.assert_array_equal(one.predicted, other.predicted)


def test_only_the_first_images_are_learned_from(monkeypatch):
    monkeypatch.setattr(baselines, "MOST", 30)
    images, labels = blobs(60)
    labels[30:] = 0  # would spoil everything
    test = blobs(90)
    results = baselines.predict(Split(images, labels), images, test[0])
    assert all(np.mean(r.predicted != test[1]) < 0.05 for r in results[1:])


@pytest.mark.parametrize(
    ("wrong", "n", "ends"),
    [(0, 10, (0, 0.278)), (10, 10, (0.722, 1)), (50, 100, (0.404, 0.596))],
)
def test_the_interval_of_an_error_rate_is_wilsons(wrong, n, ends):
    z = 1.959964
    middle = (wrong + z**2 / 2) / (n + z**2)
    half = z / (n + z**2) * np.sqrt(wrong * (n - wrong) / n + z**2 / 4)
    got = evaluation.error_interval(wrong, n)
    assert got == pytest.approx((middle - half, middle + half), abs=1e-6)
    assert got == pytest.approx(ends, abs=1e-3)
