"""How far images are shifted, by trial."""

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.datasets import Split
from dae_jax.datasets.labels import evenly
from dae_jax.runs import shifts

NONE = Split(np.zeros((0, 64), np.uint8), None)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 28), [0, 2]),
        ((64, 40, 3), [0, 3]),
        ((8, 8), [0, 1]),
        ((7, 20), [0]),
        (None, [0]),
    ],
)
def test_small_images_and_vectors_are_not_shifted(shape, expected):
    assert shifts.candidates(shape) == expected


def moving_bars(n, seed):
    """Images with a bar anywhere, which lies in one class and stands in the other."""
    rng = np.random.default_rng(seed)
    images, labels = np.zeros((n, 8, 8), np.uint8), np.arange(n) % 2
    for image, label in zip(images, labels, strict=True):
        row, column = rng.integers(1, 5, 2)
        image[(row, slice(column, column + 3)) if label else (slice(row, row + 3), column)] = 255
    return Split(images.reshape(n, 64), labels)


def errors(own, valid=NONE, shape=(8, 8), furthest=(0, 1)):
    return [t.wrong / t.n for t in shifts.compare(own, valid, shape, furthest)]


def test_shifts_help_where_things_are_anywhere_and_not_where_the_place_is_the_class():
    still, shifted = errors(moving_bars(24, 1))
    assert shifted < still
    # the place of a dot is its class
    images = np.zeros((60, 64), np.uint8)
    labels = np.arange(60) % 4
    images[np.arange(60), 27 + labels] = 255
    images += np.random.default_rng(0).integers(0, 150, images.shape).astype(np.uint8)
    still, shifted = errors(Split(images, labels))
    assert still < shifted


def test_digits_are_helped_by_shifts_and_mixed_pixels_are_not():
    train = datasets.load("mnist-sample").train
    draw = evenly(train.labels, 60, 0)
    images, labels = train.images[draw], train.labels[draw]
    still, shifted = errors(Split(images, labels), shape=(28, 28), furthest=[0, 1])
    assert shifted < still < 0.6
    mixed = images[:, np.random.default_rng(0).permutation(784)]
    same, worse = errors(Split(mixed, labels), shape=(28, 28), furthest=[0, 1])
    assert same == still and worse > shifted


def test_few_labels_are_cross_validated_several_times_and_many_validation_images_used_once():
    own = moving_bars(24, 1)
    assert [t.n for t in shifts.compare(own, NONE, (8, 8), [0])] == [1008]  # 2 times 21 times 24
    valid = moving_bars(120, 2)
    assert [t.n for t in shifts.compare(own, valid, (8, 8), [0])] == [240]
    few = Split(valid.images[:50], valid.labels[:50])
    assert [t.n for t in shifts.compare(own, few, (8, 8), [0])] == [1008]


def test_the_copies_are_those_that_training_makes():
    image = np.arange(12.0)[None]
    copies = shifts._shifted(image, (3, 4), 1)
    assert len(copies) == 9 and len({tuple(copy[0]) for copy in copies}) == 9
    assert any((copy == image).all() for copy in copies)
    up = [4, 5, 6, 7, 8, 9, 10, 11, 8, 9, 10, 11]  # the edge is repeated
    assert any((copy == up).all() for copy in copies)
    assert len(shifts._shifted(image, (3, 4), 0)) == 1


def test_classes_of_one_image_are_left_out():
    own = moving_bars(24, 1)
    labels = own.labels.copy()
    labels[0] = 2
    trials = shifts.compare(Split(own.images, labels), NONE, (8, 8), [0])
    assert trials[0].n == 1012  # 2 times 22 times 23
    alone = Split(own.images[:3], np.arange(3))
    assert shifts.compare(alone, NONE, (8, 8), [0, 1]) == []


def test_a_trial_in_words():
    assert shifts.Trial(0, 1, 4).in_words() == "as they are 25.0%"
    assert shifts.Trial(2, 1, 8).in_words() == "and copies shifted by 2 12.5%"
