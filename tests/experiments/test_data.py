"""The data of experiments: parts, scales and standardisation as declared; others are refused."""

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.experiments.data import Images, prepare
from helpers import refused


def test_images_are_scaled_and_keep_their_parts_and_labels(dataset):
    data = prepare(dataset, Images(pixel_scale=256))
    assert data.n_pixels == 784 and data.n_classes == 10 and data.image_shape == (28, 28)
    np.testing.assert_array_equal(data.images, dataset.train.images)
    for part, split in (
        (data.train, dataset.train),
        (data.valid, dataset.valid),
        (data.test, dataset.test),
    ):
        np.testing.assert_allclose(part.x, split.images / 256, rtol=1e-6)
        np.testing.assert_array_equal(part.labels, split.labels)
        assert part.x.dtype == np.float32


def test_validation_images_can_be_trained_on(dataset):
    data = prepare(dataset, Images(with_valid=True))
    both = np.concatenate([dataset.train.images, dataset.valid.images])
    np.testing.assert_array_equal(data.images, both)
    np.testing.assert_array_equal(data.test.labels, dataset.test.labels)
    assert data.valid is data.test


def test_standardised_images_have_mean_0_and_deviation_1_and_come_back_as_pictures(dataset):
    data = prepare(dataset, Images("standardised"))
    np.testing.assert_allclose(data.train.x.mean(axis=0), 0, atol=1e-5)
    varying = dataset.train.images.std(axis=0) > 0
    np.testing.assert_allclose(data.train.x.std(axis=0)[varying], 1, rtol=1e-4)
    np.testing.assert_array_equal(data.images, data.train.x)
    unit = prepare(dataset, Images())
    np.testing.assert_allclose(data.picture(data.test.x), unit.test.x, atol=1e-5)


def test_the_first_images_can_be_left_out(dataset):
    # in proportion: 150 of these 500
    data = prepare(dataset, Images(with_valid=True, skip=18_000))
    assert len(data.images) == len(data.train.labels) == 350
    np.testing.assert_array_equal(data.images[:250], dataset.train.images[150:])
    np.testing.assert_array_equal(data.train.labels[:250], dataset.train.labels[150:])


@pytest.mark.parametrize(("size", "left"), [(1, 100), (30, 90), (100, 100), (51, 51), (101, 100)])
def test_the_last_images_that_fill_no_batch_can_be_left_out(dataset, size, left):
    # as the tutorials do; all are kept if they fill not a single batch
    data = prepare(dataset, Images(batches_of=size))
    for part, split in ((data.valid, dataset.valid), (data.test, dataset.test)):
        assert len(part.x) == len(part.labels) == left
        np.testing.assert_allclose(part.x, split.images[:left] / 255, rtol=1e-6)
        np.testing.assert_array_equal(part.labels, split.labels[:left])
    np.testing.assert_array_equal(data.images, dataset.train.images)


def test_data_without_labels_are_refused(dataset):
    without = dataset._replace(train=dataset.train._replace(labels=None))
    refused(lambda: prepare(without, Images()), "labelled", "use mnist")


def test_images_of_another_size_are_refused():
    refused(lambda: prepare(datasets.load("digits"), Images()), "28 x 28", "(8, 8)")


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_pixels_outside_the_unit_interval_are_refused(dataset, scale):
    refused(lambda: prepare(dataset, Images(pixel_scale=scale)), "values in [0, 1]")
