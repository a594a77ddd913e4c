"""The filters that emerge on page 4: their files, and the sliders in a real browser.

Without a browser, only the files are tested.
"""

import functools
import json

import numpy as np
import pytest
from numpy.typing import ArrayLike
from PIL import Image
from safetensors.numpy import load_file

from dae_jax import autoencoder, evaluation, figures
from helpers import ROOT

STATIC = ROOT / "docs" / "_static"
STRIP = STATIC / "filters"
NUMBERS = json.loads((STRIP / "numbers.json").read_text())
EPOCHS, LEVELS = NUMBERS["epochs"], NUMBERS["levels"]
COST, LOCAL = (np.array(NUMBERS[name], float) for name in ("cost", "local"))
PAGE = (ROOT / "tutorials" / "04_denoising_autoencoder.md").read_text()


# ---- the files --------------------------------------------------------------------------------


def sheets(level: float) -> np.ndarray:
    """The sheets of a level, one per epoch."""
    with Image.open(STRIP / f"sheets_{100 * level:.0f}.webp") as image:
        return np.asarray(image.convert("L"), float).reshape(len(EPOCHS), 289, 289)


def of_the_demo(level: float) -> np.ndarray:
    """The weights after 15 epochs, from the demonstration's model, rounded to 10 bits."""
    tensors = load_file(STATIC / "demo" / "models" / f"da_{100 * level:.0f}.safetensors")
    low = (tensors["W_low"][:, None] >> np.arange(0, 8, 2) & 3).reshape(784, 500)
    q = 4 * tensors["W"].astype(int) + low
    return tensors["W_scale"] * np.sign(q) * (q / 511) ** 2


def alike(sheet: np.ndarray, W: ArrayLike) -> bool:
    """Whether a sheet shows these weights; WebP loses a little."""
    return np.corrcoef(sheet.ravel(), figures.filter_sheet(W, (28, 28)).ravel())[0, 1] > 0.95


def test_the_files_are_small_and_begin_with_the_tutorials_weights():
    files = list(STRIP.glob("*.webp"))
    assert len(files) == len(LEVELS) + 1 and sum(file.stat().st_size for file in files) < 600_000
    assert COST.shape == LOCAL.shape == (len(EPOCHS), len(LEVELS)) and EPOCHS[-1] == 15
    assert np.isnan(COST[0]).all() and (LOCAL[0] == 0).all()
    first = autoencoder.init_tutorial(123, n_visible=784, n_hidden=500)
    assert all(alike(sheets(level)[0], first.W) for level in LEVELS)


@pytest.mark.parametrize("level", LEVELS)
def test_the_last_epoch_is_that_of_the_run_of_the_demonstration(level):
    W = of_the_demo(level)
    local = (evaluation.locality(W, (28, 28)) > 0.5).mean()
    assert local == pytest.approx(LOCAL[-1, LEVELS.index(level)], abs=0.01)
    assert alike(sheets(level)[-1], W) and not alike(sheets(level)[1], W)


def test_the_numbers_are_near_those_of_the_experiment():
    """`noise-levels` divides the pixels by 256, as the tutorial does, and draws other noise."""
    report = json.loads((ROOT / "results" / "noise-levels" / "report.json").read_text())
    for name in ("0 %", "10 %", "50 %"):
        i = LEVELS.index(int(name[:-2]) / 100)
        at = [epoch - 1 for epoch in EPOCHS[1:]]
        costs = np.array(report["curves"][name]["costs"])[at]
        np.testing.assert_allclose(COST[1:, i], costs, rtol=0.025)
        local = report["numbers"][f"{name}: local filters"]["mean"]
        assert local == pytest.approx(LOCAL[-1, i], abs=0.03)  # of 500 filters: about 1.5 sigma


# ---- in the browser ---------------------------------------------------------------------------


@pytest.fixture
def open_page(open_part):
    """A function that opens the page's strip."""
    return functools.partial(open_part, PAGE, "filters")


def shown(page, epoch: int, level: float) -> np.ndarray:
    """Move the sliders, and return the grey values of the first row of filters."""
    page.fill("#emerging-epoch", str(EPOCHS.index(epoch)))
    page.fill("#emerging-level", str(LEVELS.index(level)))
    page.wait_for_selector(f'#emerging[data-shown="{epoch} {level:g}"]')
    script = """() => { const c = document.querySelector('#emerging canvas');
        return Array.from(c.getContext('2d').getImageData(0, 0, 289, 28).data) }"""
    return np.array(page.evaluate(script), float).reshape(28, 289, 4)[..., 0]


def test_the_sliders_choose_the_sheet_and_its_numbers(open_page):
    page = open_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.wait_for_selector("#emerging[data-shown='15 0.3']")
    for epoch, level in ((0, 0.5), (3, 0.1), (15, 0.0)):
        expected = sheets(level)[EPOCHS.index(epoch)][:28]
        assert abs(shown(page, epoch, level) - expected).mean() < 3  # two decoders of WebP
    assert "Epoch 15, 0 % masked: cost 51.45 nats, 8 % of" in page.inner_text("[aria-live]")
    rows = page.locator("#emerging tbody tr").all_inner_texts()
    assert rows[2].split("\t") == ["30 %", "64.81", "53 %"]
    assert complaints == []


def test_keys_move_the_sliders_and_words_say_so(open_page):
    page = open_page()
    page.wait_for_selector("#emerging[data-shown]")
    page.focus("#emerging-epoch")
    page.keyboard.press("Home")
    page.wait_for_selector("#emerging[data-shown='0 0.3']")
    text = "Before training, 30 % masked: 0 % of the filters local."
    assert page.inner_text("[aria-live]") == text
    assert text in page.get_attribute("#emerging canvas", "aria-label")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#emerging[data-shown='0 0.5']")
    assert page.get_attribute("#emerging-level", "aria-valuetext") == "50 %"
    labels = page.locator("#emerging label").all_inner_texts()
    assert labels == ["Epoch", "Masked"]


def test_the_strip_fits_a_telephone(open_page):
    page = open_page(390)
    page.wait_for_selector("#emerging[data-shown]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("#emerging canvas").bounding_box()["width"] > 300


@pytest.mark.parametrize("how", [{"java_script_enabled": False}, {"lost": "numbers.json"}])
def test_the_contact_sheet_stays_if_nothing_else_can_be_shown(open_page, how):
    page = open_page(**how)
    page.wait_for_load_state("networkidle")
    assert page.locator("#emerging img").is_visible()
    assert page.locator("#emerging input").count() == 0


def test_a_sheet_that_cannot_be_loaded_is_said(open_page):
    page = open_page(lost="sheets_30.webp")
    page.wait_for_selector("text=could not be loaded")
