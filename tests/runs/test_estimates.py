"""Error rates in words, and the warnings that they need: one line each, only where due."""

import numpy as np
import pytest

from dae_jax.runs import estimates

NAMES = [f"class_{i}" for i in range(40)]


def test_a_class_that_was_not_tested_is_never_the_worst():
    counts = np.array([[0, 0, 0], [1, 9, 0], [0, 1, 1]])
    assert estimates.worst_class(counts, NAMES) == "highest for class class_2: 50.00% of 2"


@pytest.mark.parametrize(("n", "due"), [(1, True), (99, True), (100, False)])
def test_fewer_than_a_hundred_images_are_a_rough_estimate(n, due):
    lines = estimates.few_images("test error", n)
    assert bool(lines) == due
    if due:
        images = "1 image" if n == 1 else "99 images"
        (line,) = lines
        assert line.startswith(f"warning: the test error rests on {images} only")


def test_classes_of_fewer_than_five_labels_are_named_the_first_ten_of_many():
    assert estimates.few_labels(np.arange(40).repeat(5), NAMES) == []
    (line,) = estimates.few_labels(np.arange(40).repeat(5)[1:], NAMES)
    assert "of 1 class, class_0 (4): " in line
    (line,) = estimates.few_labels(np.arange(40), NAMES)
    assert "of 40 classes, class_0 (1), " in line and "class_9 (1), ...: " in line
    assert "class_10" not in line and "\n" not in line


def test_classes_without_images_to_test_on_are_named():
    assert estimates.untested(np.array([0, 1, 2]), NAMES[:3]) == []
    (line,) = estimates.untested(np.array([0, 0, 2]), NAMES[:4])
    assert "2 classes, class_1, class_3: the error there is unknown" in line


@pytest.mark.parametrize(
    ("wrong", "due"),
    [(59, False), (60, True), (70, True), (100, True)],  # of 59, the interval ends at 68.1 %
)
def test_the_interval_of_an_error_at_chance_reaches_that_of_guessing(wrong, due):
    labels = np.repeat([0, 1, 2, 3], [20, 31, 29, 20])
    lines = estimates.at_chance("test error", wrong, labels, NAMES, "try this")
    assert bool(lines) == due
    if due:
        (line,) = lines
        words = "not clearly below 69.00%, that of always guessing class class_1: try this"
        assert line == f"warning: the test error is {words}"


def test_of_a_single_class_there_is_nothing_to_guess():
    assert estimates.at_chance("error", 5, np.zeros(10, int), NAMES, "") == []
