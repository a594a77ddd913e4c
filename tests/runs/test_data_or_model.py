"""`dae_jax.load`: data by name or path, a model by its run or its file."""

from pathlib import Path

import numpy as np
import pytest

import dae_jax
from dae_jax.datasets import Dataset
from dae_jax.runs.saved import Model
from helpers import refused
from trained_models import copy_run, own, picture, write_sweep

pytestmark = pytest.mark.usefixtures("models_here")


def test_a_run_its_member_or_a_file_is_a_model():
    write_sweep()
    Path("alone").mkdir()
    Path("alone/mine.safetensors").write_bytes(Path("stack/model.safetensors").read_bytes())
    for path in ("stack", Path("stack"), "alone/mine.safetensors", "da", "pets_run"):
        assert isinstance(dae_jax.load(path), Model)
    assert dae_jax.load("stack").card.kind == "classifier"
    words = "choose one: sweep/corruption_0, sweep/corruption_30"
    refused(lambda: dae_jax.load("sweep"), words)


def test_anything_else_is_data():
    assert isinstance(dae_jax.load("digits"), Dataset)
    assert isinstance(dae_jax.load("own.npz", valid_fraction=0.2), Dataset)
    np.save("x.npy", own("x_test"))
    assert len(dae_jax.load("x.npy", valid_fraction=0).train.images) == 30
    picture(Path("some/1.png"), np.zeros((2, 2)))
    Path("some/config.json").write_text("{}")  # somebody else's
    assert dae_jax.load("some", valid_fraction=0).image_shape == (2, 2)


def test_what_is_missing_unfinished_or_misdirected_is_refused():
    copy_run("stack", "begun", "model.safetensors")
    refused(lambda: dae_jax.load("begun"), "finish it: python -m dae_jax.pretrain --resume")
    refused(lambda: dae_jax.load("none.safetensors"), "got nothing there")
    refused(lambda: dae_jax.load("nowhere"), "data: expected mnist")
    words = "grey: expected data to load, got the model stack; leave it out"
    refused(lambda: dae_jax.load("stack", grey=True), words)
