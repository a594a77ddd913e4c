"""The latent map on page 6: its files, and the two planes in a real browser.

Without a browser, only the files are tested.
"""

import functools
import json
import os
import re

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from dae_jax import datasets, deep
from dae_jax.experiments.catalogue import EXPERIMENTS
from dae_jax.stacked import Layer
from helpers import ROOT, script

REAL_DATA = os.environ.get("DAE_JAX_DATA", "")
MAP = ROOT / "docs" / "_static" / "map"
TENSORS = load_file(MAP / "map.safetensors")
LABELS = TENSORS["labels"]
PAGE = (ROOT / "tutorials" / "06_deep_autoencoders_and_pca.md").read_text()
REPORT = json.loads((ROOT / "results" / "deep-2d" / "report.json").read_text())
ARCHITECTURE = EXPERIMENTS["deep-2d"].models["deep"].architecture


def decoded(codes: np.ndarray) -> np.ndarray:
    """The images of codes, by JAX, with the weights of the file."""
    layers = []
    for k in range(3):
        W, b = TENSORS[f"decoder.{k}.W"], TENSORS[f"decoder.{k}.b"]
        layers.append(Layer(np.float32(W) * TENSORS.get(f"decoder.{k}.scale", np.float32(1)), b))
    codes = np.float32(codes)
    return np.asarray(deep.decode(deep.Untied((), tuple(layers)), codes, ARCHITECTURE))


def from_pca(codes: np.ndarray) -> np.ndarray:
    return TENSORS["pca.mean"] + codes @ TENSORS["pca.components"]


def pictures(images: np.ndarray) -> np.ndarray:
    """The digits' bytes, from the sheet that the page loads."""
    height, width = images.shape
    return images.reshape(height // 28, 28, width // 28, 28).swapaxes(1, 2).reshape(-1, 784)


# ---- the files --------------------------------------------------------------------------------


def test_the_files_are_small_and_the_card_agrees_with_the_experiment():
    assert sum(file.stat().st_size for file in MAP.iterdir()) < 650_000
    assert TENSORS["decoder.1.W"].dtype == TENSORS["decoder.2.W"].dtype == np.int8
    with safe_open(MAP / "map.safetensors", "np") as opened:
        card = json.loads(opened.metadata()["dae_jax"])
    assert card["declaration"] == REPORT["declaration"]["models"]["deep"]
    published = REPORT["numbers"]["deep: held-out error per pixel, epoch 5"]["values"][0]
    assert card["error per pixel, held out"] == pytest.approx(
        published, abs=3e-4
    )  # another machine
    assert card["largest error of a pixel by these bits"] < 1e-2


def test_both_planes_give_the_digits_back_as_well_as_published():
    with Image.open(MAP / "digits.webp") as sheet:
        x = pictures(np.asarray(sheet.convert("L"), float) / 255)
    assert len(x) == len(LABELS) == len(TENSORS["net.codes"]) == len(TENSORS["pca.codes"])
    numbers = {name: each["mean"] for name, each in REPORT["numbers"].items()}
    for z, name in (
        (decoded(TENSORS["net.codes"]), "deep: held-out error per pixel, epoch 5"),
        (from_pca(TENSORS["pca.codes"]), "pca: held-out error per pixel"),
    ):
        # the first digits are a sample of all, and WebP loses a little
        assert np.square(x - z).mean() == pytest.approx(numbers[name], rel=0.08)


@pytest.mark.skipif("DAE_JAX_DATA" not in os.environ, reason="DAE_JAX_DATA: needs all of MNIST")
def test_the_digits_are_mnists(monkeypatch):
    monkeypatch.setenv("DAE_JAX_DATA", REAL_DATA)
    test = datasets.load("mnist").test
    np.testing.assert_array_equal(test.labels[: len(LABELS)], LABELS)
    with Image.open(MAP / "digits.webp") as sheet:
        x = pictures(np.asarray(sheet.convert("L"), float))
    assert np.abs(x - test.images[: len(LABELS)]).mean() < 6


def test_weights_of_8_bits_make_up_for_each_other():
    module = script(ROOT / "docs" / "latent_map.py")
    rng = np.random.default_rng(0)
    x = np.float32(np.tanh(rng.normal(size=(500, 2)) @ rng.normal(size=(2, 60))))  # a bent plane
    W = np.float32(rng.normal(size=(60, 30)))
    q, scale = module.rounded(W, x)
    assert q.dtype == np.int8 and scale.dtype == np.float32
    one_by_one = scale * np.rint(W / scale)
    errors = [np.abs(x @ (each - W)).max() for each in (scale * q, one_by_one)]
    assert errors[0] < errors[1] / 3


# ---- in the browser ---------------------------------------------------------------------------


@pytest.fixture
def open_page(open_part):
    """A function that opens the page's map."""
    return functools.partial(open_part, PAGE, "map")


def ready(page):
    page.wait_for_selector("#latent-map[data-shown]", timeout=20_000)
    return page


def image(page, name: str, k: int = 0) -> np.ndarray:
    """The grey values of the k-th small picture of a plane: the decoded image, then the digits."""
    script = """([name, k]) => {
        const c = document.querySelectorAll(`#plane-${name} .row canvas`)[k];
        return Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data) }"""
    return np.array(page.evaluate(script, [name, k]), float).reshape(784, 4)[:, 0]


def numbers_in(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+\.\d", text)]


def at(page, name: str, code: np.ndarray) -> tuple[float, float]:
    """The place of a code on the screen."""
    left, bottom, right, top = TENSORS[f"{name}.window"]
    canvas = page.locator(f"#plane-{name} .board canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    x, y = (code[0] - left) / (right - left), (top - code[1]) / (top - bottom)
    return box["x"] + float(x) * box["width"], box["y"] + float(y) * box["height"]


def nearest(name: str, code: np.ndarray) -> int:
    return int(np.square(TENSORS[f"{name}.codes"] - code).sum(axis=1).argmin())


def test_javascripts_decoders_agree_with_jax(open_page):
    page = open_page()
    rng = np.random.default_rng(1)
    script = """async ([name, codes]) => {
        const { read } = await import('/_static/demo/model.js');
        const decoders = await import('/_static/map/decoder.js');
        const { tensors } = await read('/_static/map/map.safetensors');
        return codes.map((code) => Array.from(decoders[name](tensors)(code))) }"""
    for name, of, reference in (("deep", "net", decoded), ("pca", "pca", from_pca)):
        window = TENSORS[f"{of}.window"]
        codes = np.concatenate(
            [TENSORS[f"{of}.codes"][:20], rng.uniform(*window.reshape(2, 2), (20, 2))]
        )
        z = np.array(page.evaluate(script, [name, codes.tolist()]))
        assert z.shape == (40, 784)
        np.testing.assert_allclose(z, reference(codes), atol=1e-3)


def test_a_click_shows_the_image_there_and_the_digits_around(open_page):
    page = open_page()
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    ready(page)
    with Image.open(MAP / "digits.webp") as sheet:
        digits = pictures(np.asarray(sheet.convert("L"), float))
    for here, there, decode in (("net", "pca", decoded), ("pca", "net", from_pca)):
        left, bottom, right, top = TENSORS[f"{here}.window"]
        code = np.array([left + 0.6 * (right - left), bottom + 0.5 * (top - bottom)])
        page.mouse.click(*at(page, here, code))
        said = page.inner_text("#latent-map [aria-live]")
        clicked = np.array(numbers_in(said)[:2])
        assert np.abs(clicked - code).max() < (right - left) / 100  # a pixel or two of the screen
        n = int(page.get_attribute("#latent-map", "data-shown").split()[1])
        assert f"the nearest test digit is a {LABELS[n]}" in said
        near = np.square(TENSORS[f"{here}.codes"] - code).sum(axis=1).argsort()[:5]
        assert n in near
        exact = decode(np.float32(clicked)[None])[0]  # at the place as it is said, with one decimal
        assert np.abs(image(page, here) / 255 - exact.clip(0, 1)).mean() < 0.03
        assert np.abs(image(page, here, 1) - digits[n]).mean() < 3  # two decoders of WebP
        other = decoded if there == "net" else from_pca
        same = other(TENSORS[f"{there}.codes"][n : n + 1])[0].clip(0, 1)
        np.testing.assert_allclose(image(page, there) / 255, same, atol=0.01)
    assert complaints == []


def test_dragging_moves_the_point_and_letting_go_stops_it(open_page):
    page = ready(open_page())
    left, bottom, right, top = TENSORS["net.window"]
    first = at(page, "net", [left + 0.3 * (right - left), (bottom + top) / 2])
    page.mouse.move(*first)
    page.mouse.down()
    before = image(page, "net")
    page.mouse.move(first[0] + 150, first[1], steps=3)
    after = image(page, "net")
    page.mouse.up()
    page.mouse.move(*first)
    assert np.abs(before - after).mean() > 5
    assert (image(page, "net") == after).all()


def test_a_finger_moves_the_point(open_page):
    page = ready(open_page(390, has_touch=True))
    left, bottom, right, top = TENSORS["pca.window"]
    code = np.array([left + 0.75 * (right - left), (bottom + top) / 2])
    page.touchscreen.tap(*at(page, "pca", code))
    clicked = np.array(numbers_in(page.inner_text("#latent-map [aria-live]"))[:2])
    assert np.abs(clicked - code).max() < (right - left) / 50


def test_arrow_keys_move_the_point_and_words_say_so(open_page):
    page = ready(open_page())
    side = TENSORS["net.window"][2] - TENSORS["net.window"][0]
    page.focus("#plane-net .board canvas")
    point = TENSORS["net.codes"][1].astype(float)
    for key, step in (
        ("ArrowLeft", (-1, 0)),
        ("ArrowUp", (0, 1)),
        ("Shift+ArrowLeft", (-5, 0)),
        ("ArrowDown", (0, -1)),
    ):
        page.keyboard.press(key)
        point += np.array(step) * side / 50
        said = page.inner_text("#latent-map [aria-live]")
        np.testing.assert_allclose(numbers_in(said)[:2], point, atol=0.06)
        assert f"a {LABELS[nearest('net', point)]}." in said
    assert page.evaluate("scrollY") == 0
    label = page.get_attribute("#plane-net .row canvas", "aria-label")
    assert label.startswith("the image decoded from (")
    assert "Arrow keys move the point" in page.get_attribute("#plane-pca canvas", "aria-label")


def test_zooming_keeps_the_point_in_sight(open_page):
    page = ready(open_page())
    page.focus("#plane-net .board canvas")
    page.keyboard.press("Shift+ArrowLeft")
    before = page.inner_text("#latent-map [aria-live]")
    page.fill("#latent-zoom", "3")
    assert page.get_attribute("#latent-zoom", "aria-valuetext") == "8 times"
    style = page.get_attribute("#plane-net .mark", "style")
    assert [float(share) for share in re.findall(r"[\d.]+(?=%)", style)] == pytest.approx([50, 50])
    assert page.inner_text("#latent-map [aria-live]") == before
    page.focus("#plane-net .board canvas")
    for _ in range(6):  # out of the window, which follows
        page.keyboard.press("Shift+ArrowUp")
    share = float(re.search(r"top: ([\d.]+)%", page.get_attribute("#plane-net .mark", "style"))[1])
    assert 0 < share < 100


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_the_map_fits_a_telephone(open_page, colours):
    page = ready(open_page(390, color_scheme=colours))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for name in ("net", "pca"):
        box = page.locator(f"#plane-{name} .board canvas").bounding_box()
        assert box["width"] == pytest.approx(box["height"]) and box["width"] > 300


@pytest.mark.parametrize("how", [{"java_script_enabled": False}, {"lost": "map.safetensors"}])
def test_the_picture_stays_if_nothing_else_can_be_shown(open_page, how):
    page = open_page(**how)
    page.wait_for_load_state("networkidle")
    assert page.locator("#latent-map img").is_visible()
    assert page.locator("#latent-map canvas").count() == 0
