"""Checks of a data set before training: pixels, labels, shifts, comparisons, more images."""

from pathlib import Path

import numpy as np
import pytest

from dae_jax.datasets import Dataset, Split, checks
from helpers import refused
from trained_models import picture

PIXELS = np.arange(48, dtype=np.uint8).reshape(12, 4)
LABELS = np.arange(12, dtype=np.int32) % 3


def dataset(labels=LABELS, test=LABELS, names=None, shape=(2, 2)):
    part, held_out = Split(PIXELS, labels), Split(PIXELS, test)
    return Dataset("toy", "here", part, held_out, held_out, shape, names)


# ---- pixels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "scale"),
    [
        (np.array([[0, 255]], np.uint8), 255.0),
        (np.array([[0, 255]], np.uint8), 256.0),
        (np.array([[0, 900]], np.int32), 900.0),
        (np.array([[0, 1]], np.float32), 255.0),  # floats are not scaled
    ],
)
def test_pixels_in_the_unit_interval_are_accepted(images, scale):
    checks.check_range("toy", images, scale, "cross-entropy", linear=False)


@pytest.mark.parametrize(
    ("images", "scale", "words"),
    [
        (np.array([[0, 255]], np.uint8), 100.0, ("0 to 2.55", "pass --pixel-scale 255")),
        (np.array([[-5, 255]], np.int32), 255.0, ("scale them to [0, 1]",)),
        (np.array([[0, 1.5]], np.float32), 255.0, ("0 to 1.5", "--decoder linear")),
        (np.array([[-0.5, 1]], np.float32), 255.0, ("-0.5 to 1", "--cost squared-error")),
    ],
)
def test_other_pixels_need_a_linear_decoder(images, scale, words):
    refused(
        lambda: checks.check_range("toy", images, scale, "cross-entropy", linear=False),
        "pixels of toy: expected values in [0, 1] for --cost cross-entropy",
        *words,
    )
    checks.check_range("toy", images, scale, "squared-error", linear=True)


# ---- labels ----------------------------------------------------------------------------------


def test_the_names_of_classes_are_printed_unless_they_are_their_numbers(capsys):
    checks.check_labels(dataset())
    checks.check_labels(dataset(names=("0", "1", "2")))
    assert not capsys.readouterr().out
    checks.check_labels(dataset(names=("cat", "dog", "newt")))
    assert capsys.readouterr().out == "classes: cat = 0, dog = 1, newt = 2\n"
    many = np.arange(12, dtype=np.int32)
    checks.check_labels(dataset(many, many, tuple("abcdefghijkl")))
    assert capsys.readouterr().out.endswith("j = 9, ...\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (dataset(labels=None), ("labels of toy", "got none", "--unlabelled")),
        (dataset(0 * LABELS, 0 * LABELS), ("classes of toy", "at least 2, got 0")),
        (dataset(LABELS % 2), ("expected some of each class, got none of 2",)),
        (dataset(LABELS % 2, names=("a", "b", "newt")), ("got none of newt",)),
    ],
    ids=["none", "one class", "only tested", "only tested, with a name"],
)
def test_labels_that_a_classifier_cannot_learn_are_refused(data, words):
    refused(lambda: checks.check_labels(data), *words)


# ---- shifts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "limit", "size"), [((3, 5), 2, "3 x 5"), ((4, 2, 3), 1, "4 x 2 x 3")]
)
def test_images_can_be_shifted_by_less_than_their_size(shape, limit, size):
    for furthest in (0, limit):
        checks.check_shift(dataset(shape=shape), furthest)
    for furthest in (-1, limit + 1):
        words = (f"expected 0 to {limit} for images of {size}", f"got {furthest}")
        refused(lambda f=furthest: checks.check_shift(dataset(shape=shape), f), *words)


def test_vectors_cannot_be_shifted():
    checks.check_shift(dataset(shape=None), 0)
    words = "--shift: expected 0 for images of 4 values, got 1"
    refused(lambda: checks.check_shift(dataset(shape=None), 1), words)


# ---- comparisons -----------------------------------------------------------------------------


def test_a_comparison_needs_labels_of_all_classes_two_seeds_and_images_to_test_on():
    data = dataset()
    checks.check_comparison(data, [3, 12, "all"], 2)
    for budget in (2, 13):
        words = ("--labels: expected 3 (one for each class) to 12", f"got {budget}")
        refused(lambda b=budget: checks.check_comparison(data, [b], 2), *words)
    refused(lambda: checks.check_comparison(data, [3], 1), "--seeds: expected at least 2")
    nothing = Split(PIXELS[:0], None)
    for part in ("valid", "test"):
        without = data._replace(**{part: nothing})
        refused(lambda d=without: checks.check_comparison(d, [3], 2), "--compare", "labelled")


# ---- more images -----------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_more_images_are_added_without_their_labels(capsys):
    np.savez("more.npz", x=PIXELS[:5].reshape(5, 2, 2) + 100, y=np.arange(5))
    both = checks.with_unlabelled(dataset(), "more.npz", None)
    assert "5 images without labels for pretraining, from more.npz" in capsys.readouterr().out
    np.testing.assert_array_equal(both.unlabelled, PIXELS[:5] + 100)
    assert both._replace(unlabelled=None) == dataset()
    expected = np.concatenate([PIXELS, PIXELS[:5] + 100])
    np.testing.assert_array_equal(both.pretraining_images, expected)


@pytest.mark.usefixtures("here")
def test_a_folder_of_more_images_is_resized_to_those_with_labels():
    for i in range(3):
        picture(Path(f"more/{i}.png"), np.full((6, 4), 50 * i))
    both = checks.with_unlabelled(dataset(), "more", None)
    np.testing.assert_array_equal(both.unlabelled, np.repeat([[0], [50], [100]], 4, axis=1))
    vectors = dataset(shape=None)
    refused(lambda: checks.with_unlabelled(vectors, "more", None), "of 4 values", "got 6 x 4")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (PIXELS.reshape(12, 1, 4), ("images of 2 x 2", "got 1 x 4")),
        (np.zeros((5, 3, 3), np.uint8), ("images of 2 x 2", "got 3 x 3")),
        (np.zeros((5, 2, 2), np.float32), ("uint8 pixels", "got float32")),
    ],
    ids=["turned", "size", "kind"],
)
def test_more_images_of_another_kind_are_refused(more, words):
    np.save("more.npy", more)
    refused(
        lambda: checks.with_unlabelled(dataset(), "more.npy", None), "--unlabelled more.npy", *words
    )


def test_sizes_are_written_with_crosses():
    assert checks.in_words((2, 3), 6) == "2 x 3" and checks.in_words((2, 3, 3), 18) == "2 x 3 x 3"
    assert checks.in_words(None, 5) == "5 values"
