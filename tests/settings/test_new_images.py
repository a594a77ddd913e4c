"""Settings of ``predict`` and ``transform``: two positions, and what may be added."""

import pytest

from dae_jax import predict, transform
from dae_jax.settings import new_images, shared
from helpers import refused


@pytest.mark.parametrize("kind", [predict.Settings, transform.Settings])
def test_model_and_images_are_positions_and_the_rest_flags(kind):
    got = shared.parse(kind, ["run", "images", "--part", "all", "--image-size", "3", "4", "--grey"])
    assert isinstance(got, new_images.ModelAndImages)
    assert (got.run, got.images, got.part, got.image_size) == ("run", "images", "all", (3, 4))
    assert got.grey
    usual = shared.parse(kind, ["run", "images"])
    assert usual.part is None and usual.image_size is None
    assert not usual.grey and not usual.debug


@pytest.mark.parametrize("kind", [predict.Settings, transform.Settings])
@pytest.mark.parametrize(
    "argv",
    [[], ["run"], ["run", "images", "more"], ["run", "images", "--part", "some"]],
    ids=["nothing", "no images", "too much", "no such part"],
)
def test_other_flags_are_one_line_with_the_help_to_see(kind, argv):
    refused(lambda: shared.parse(kind, argv), f"see {kind.prog} --help")
