"""Drawing the images that keep their labels."""

import numpy as np

from dae_jax.datasets.labels import evenly


def test_a_draw_is_even_over_the_classes_and_each_seed_has_its_own():
    labels = np.random.default_rng(0).choice(4, 500, p=[0.5, 0.3, 0.15, 0.05])
    drawn = evenly(labels, 42, seed=1)
    assert len(set(drawn.tolist())) == 42
    counts = np.bincount(labels[drawn])
    assert counts.min() >= 10 and counts.max() <= 11
    # the classes in turn: the first four are one of each
    assert set(labels[drawn[:4]].tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(drawn, evenly(labels, 42, seed=1))
    assert set(drawn.tolist()) != set(evenly(labels, 42, seed=2).tolist())


def test_a_class_with_too_few_images_leaves_its_place_to_the_others():
    labels = np.array([0] * 50 + [1] * 3)
    assert np.bincount(labels[evenly(labels, 20, seed=0)]).tolist() == [17, 3]
