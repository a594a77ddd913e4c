"""The data of experiments: parts, scales and standardisation as declared; others are refused."""

import numpy as np
import pytest

from dae_jax import datasets
from dae_jax.experiments.data import Images, Patches, prepare, whitened
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


def test_patches_are_those_of_whitened_photographs(dataset):
    pytest.importorskip("skimage")
    prepared = prepare(dataset, Patches(side=8, train=50, held_out=20))
    assert prepared.name == "own photographs" and prepared.image_shape == (8, 8)
    assert prepared.images.shape == (50, 64) and prepared.test.x.shape == (20, 64)
    both = np.concatenate([prepared.images, prepared.test.x])
    assert abs(both.mean()) < 1e-5 and both.std() == pytest.approx(1, abs=1e-5)
    again = prepare(dataset, Patches(side=8, train=50, held_out=20))
    np.testing.assert_array_equal(prepared.images, again.images)


def test_whitening_makes_the_spectrum_of_a_natural_image_flat():
    rng = np.random.default_rng(0)
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256), indexing="ij"))
    noise = np.fft.fft2(rng.normal(size=(256, 256)))
    natural = np.fft.ifft2(noise / np.maximum(f, 1 / 256)).real  # amplitudes fall as 1 / f
    power = np.abs(np.fft.fft2(whitened(natural))) ** 2
    bands = [power[(low < f) & (f < low + 0.05)].mean() for low in (0.02, 0.07, 0.12)]
    np.testing.assert_allclose(bands / np.mean(bands), 1, atol=0.1)
    assert power[f > 0.45].mean() < 0.2 * np.mean(bands)
