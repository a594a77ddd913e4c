"""The forty lines of the page compute the package's cost; its tables have the reports' numbers."""

import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import jupytext
import numpy as np
import pytest

from dae_jax import ladder
from helpers import ROOT, drawn

PAGE = ROOT / "tutorials" / "13_the_ladder.md"
WIDTHS, WEIGHTS, N = (20, 8, 6, 4), (1000.0, 10.0, 0.1, 0.1), 12


@pytest.fixture(scope="module")
def page():
    """The functions that the page defines."""
    cells = [cell.source for cell in jupytext.read(PAGE, fmt="md:myst").cells]
    (forty,) = [text for text in cells if text.startswith("def encode(")]
    names = {"jax": jax, "jnp": jnp, "np": np}
    exec(forty, names)
    assert len([line for line in forty.splitlines() if line.strip()]) <= 45
    return names


@pytest.mark.parametrize("seed", [0, 1])
def test_the_forty_lines_compute_the_cost_of_the_package(page, seed):
    rng = np.random.default_rng(seed)
    x, labels = rng.random((2 * N, WIDTHS[0])), rng.integers(0, 4, N).astype(np.int32)
    batch, pixels = ((a[:N], (a[N:], labels)) for a in (x, 255 * x))
    # without noise, since the page draws it for all layers at once
    theirs = partial(ladder.cost, weights=WEIGHTS, noise=np.zeros(4), pixel_scale=np.ones(()))
    own = partial(page["cost"], weights=WEIGHTS, noise=0.0)
    with jax.enable_x64():
        params = drawn(lambda: ladder.init(jax.random.key(0), WIDTHS), seed)
        params = jax.tree.map(lambda leaf: leaf.astype(np.float64), params)
        wanted = jax.jit(theirs)(params, batch, jax.random.key(2))
        np.testing.assert_allclose(
            jax.jit(own)(params, pixels, jax.random.key(1)), wanted, rtol=1e-9
        )


def test_the_noise_has_the_widths_of_the_layers_and_its_deviation(page):
    params = ladder.init(jax.random.key(0), WIDTHS)
    noise = page["draw"](jax.random.key(1), 5000, params, 0.3)
    assert [each.shape for each in noise] == [(5000, width) for width in WIDTHS]
    np.testing.assert_allclose([each.std() for each in noise], 0.3, rtol=0.03)  # of 20,000 draws


@pytest.mark.parametrize("labels", ["100", "1000", "all"])
def test_the_table_has_the_errors_of_the_reports(labels):
    folder = f"ladder-{labels}"
    report = json.loads((ROOT / "results" / folder / "report.json").read_text())
    number, claim = report["numbers"]["ladder: test error"], report["claims"][0]
    rounded = (f"{100 * number[name]:.2f}".removeprefix("0") for name in ("mean", "sd"))
    (row,) = [line for line in PAGE.read_text().splitlines() if f"/{folder}/report.json" in line]
    assert f"[{' ± '.join(rounded)}](../results/{folder}/report.json)" in row
    assert f"| {claim['published'].removesuffix(' %')} ±" in row
    assert claim["verdict"] == "agrees" and f"`{report['command']}`" in row
    assert f"{report['seconds']:.0f}" in PAGE.read_text()


def test_the_table_of_the_models_has_the_errors_of_its_report():
    numbers = json.loads((ROOT / "results/ladder-models/report.json").read_text())["numbers"]
    (row,) = re.findall(r"^.*ladder-models/report.json.*$", PAGE.read_text(), re.MULTILINE)
    means = [f"{100 * number['mean']:.2f}" for number in numbers.values()]
    assert row.endswith(f"| {' | '.join(means)} |")
