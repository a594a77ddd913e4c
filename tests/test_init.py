"""The face of the package: its first names, imported when they are used."""

import os
import subprocess
import sys

import pytest

import dae_jax
from helpers import ROOT


def test_every_public_name_is_there_and_listed():
    assert dir(dae_jax) == sorted(dae_jax.__all__)
    for name in dae_jax.__all__:
        assert getattr(dae_jax, name) is not None
    assert len(set(dae_jax.__all__)) == len(dae_jax.__all__)


def test_names_are_those_of_their_modules():
    from dae_jax import datasets, errors, evaluation, figures, training
    from dae_jax.runs import data_or_model

    for module, names in (
        (datasets, ("Dataset", "Split")),
        (data_or_model, ("load",)),
        (training, ("fit", "bind", "optimiser", "start_state")),
        (figures, ("tile_raster_images",)),
        (evaluation, ("apply",)),
        (errors, ("InputError",)),
    ):
        for name in names:
            assert getattr(dae_jax, name) is getattr(module, name)
    assert dae_jax.training is training


def test_other_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = dae_jax.no_such_name


@pytest.mark.slow
def test_importing_the_package_imports_nothing_large():
    code = "import sys, dae_jax; assert not {'jax', 'numpy', 'optax'} & set(sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
