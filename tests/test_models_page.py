"""The page about using models elsewhere is true: its code gives what `predict` gives."""

import importlib.util
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from dae_jax import console, export
from dae_jax.runs import saved
from helpers import ROOT

PAGE = (ROOT / "docs" / "models.md").read_text()
FIRST, *BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"^ {4}python -m dae_jax\.export (.*)$", PAGE, re.MULTILINE)
HAS_TORCH = importlib.util.find_spec("torch") is not None


@pytest.mark.slow
@pytest.mark.usefixtures("digits_here")
def test_every_block_reproduces_predict():
    for command in COMMANDS:
        if HAS_TORCH or "--to torch" not in command:
            assert console.run(export.main, shlex.split(command)) == 0
    first: dict = {}
    exec(compile(FIRST, "models.md", "exec"), first)
    assert first["codes"].shape == (60, 12) and first["restored"].shape == (60, 784)
    for block in BLOCKS:
        if "import torch" in block and not HAS_TORCH:
            continue
        names = dict(first)
        exec(compile(block, "models.md", "exec"), names)
        if "probabilities" in names:
            # sums of 784 float32 numbers in another order
            np.testing.assert_allclose(names["probabilities"], names["expected"], atol=1e-6, rtol=0)
        if "predicted" in names:
            assert list(names["predicted"]) == list(names["names"])
    assert saved.load("licensed.safetensors").card.licence == "CC-BY-4.0"


def test_the_page_has_blocks_of_the_promised_length_and_every_export():
    def lines(word):
        (block,) = [block for block in BLOCKS if word in block]
        return len([line for line in block.splitlines() if line and "import" not in line])

    assert lines("import safe_open") == 10 and lines("import load_file") == 5
    assert {words.split("--to ")[1].split()[0] for words in COMMANDS} == {
        "onnx",
        "stablehlo",
        "torch",
        "web",
    }


def test_the_page_describes_every_entry_of_the_card(digits_here: Path):
    described = set()
    for row in re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE):
        described |= set(re.findall(r"`(\w+)`", row))
    for run in ("mine/model", "da/params"):
        with safe_open(digits_here / "runs" / f"{run}.safetensors", "numpy") as file:
            card = json.loads(file.metadata()["dae_jax"])
        assert set(card) <= described
