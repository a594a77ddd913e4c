"""The demonstration of the site in a real browser: drawing, restoring, the same numbers as JAX.

Chromium has to be installed, and Playwright, which drives it; without them nothing is tested here.
"""

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load, load_file, save

from dae_jax import autoencoder, datasets, training
from dae_jax.autoencoder import Params
from dae_jax.runs import exporting
from dae_jax.runs.saved import Model
from helpers import ROOT, refused
from trained_models import floats_card

STATIC = ROOT / "docs" / "_static" / "demo"
LEVELS = (0, 10, 30, 50)


@pytest.fixture(scope="module")
def trained() -> Params:
    """A dA that has seen a thousand digits."""
    images = datasets.load("mnist-sample").train.images[:1000]
    with jax.numpy_dtype_promotion("standard"):
        params, _ = training.train(
            autoencoder.denoising_cost,
            autoencoder.init(jax.random.key(0), 784, 500),
            images,
            epochs=3,
            level=0.3,
        )
    return Params(*map(np.asarray, params))


def digits() -> np.ndarray:
    """Twenty test digits, in [0, 1]."""
    return np.float32(datasets.load("mnist-sample").test.images[:20]) / 255


# ---- the files --------------------------------------------------------------------------------


def test_the_files_of_the_page_are_small_and_have_cards():
    for level in LEVELS:
        file = STATIC / "models" / f"da_{level}.safetensors"
        assert file.stat().st_size < 500_000
        tensors = load_file(file)
        shapes = {name: (value.dtype.name, value.shape) for name, value in tensors.items()}
        assert shapes == {
            "W": ("int8", (784, 500)),
            "W_low": ("uint8", (98_000,)),
            "W_scale": ("float32", (500,)),
            "b": ("float32", (500,)),
            "b_prime": ("float32", (784,)),
        }
        card = exporting.json.loads(_metadata(file)["dae_jax"])
        assert card["denoising"]["corruption"] == level / 100
        assert card["config"]["data"]["data"] == "mnist"
    examples = load_file(STATIC / "digits.safetensors")
    assert examples["images"].shape == (50, 784)
    assert np.bincount(examples["labels"]).tolist() == [5] * 10


def _metadata(file: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        return opened.metadata()


def test_weights_of_10_bits_are_the_nearest_ones(trained):
    tensors = load(exporting.to_web(_model(trained)))
    low = (tensors["W_low"][:, None] >> np.arange(0, 8, 2) & 3).ravel().reshape(784, 500)
    q = 4 * tensors["W"].astype(int) + low
    assert np.abs(q).max(axis=0).tolist() == [511] * 500

    def weights(q: np.ndarray) -> np.ndarray:
        return tensors["W_scale"] * np.sign(q) * (q / 511) ** 2

    assert (np.sign(q) * np.sign(trained.W) >= 0).all()
    error = np.abs(weights(q) - trained.W)
    for other in (q - 1, q + 1):  # the next step, of the root of the weight
        assert (error <= np.abs(weights(q) - weights(other)) + 1e-7).all()
    assert error.max() < 1 / 511 * tensors["W_scale"].max()


def _model(params: Params) -> Model:
    return Model(params, floats_card(kind="autoencoder", pixels=784, image_shape=(28, 28)))


def test_other_models_than_a_tied_da_are_refused(trained):
    W, b, b_prime = trained
    untied = autoencoder.UntiedParams(W, b, b_prime, W.T)
    refused(lambda: exporting.to_web(_model(untied)), "--to web", "another kind of dA")


# ---- in the browser ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page as the site has it, without the site's frame, served from this machine."""
    folder = tmp_path_factory.mktemp("site")
    (raw,) = re.findall(r"```\{raw\} html\n(.*?)```", (ROOT / "docs" / "demo.md").read_text(), re.S)
    (folder / "docs").mkdir()
    meta = '<link rel="icon" href="data:,"><meta charset="utf-8">'
    meta += '<meta name="viewport" content="width=device-width">'
    (folder / "docs" / "demo.html").write_text(f'<!doctype html><html lang="en">{meta}{raw}</html>')
    shutil.copytree(ROOT / "docs" / "_static", folder / "_static")
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def page(browser, address):
    """The page, loaded; anything that it complains of fails the test."""
    page = browser.new_page(viewport={"width": 1280, "height": 900}, has_touch=True)
    complaints = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.goto(f"{address}/docs/demo.html")
    page.wait_for_selector("#demo[data-ready]", timeout=20_000)
    yield page
    page.close()
    assert complaints == []


def pixels(page, canvas: str) -> np.ndarray:
    """The grey values of a canvas of 28 x 28 pixels."""
    script = """id => { const c = document.getElementById(id);
        return Array.from(c.getContext('2d').getImageData(0, 0, 28, 28).data) }"""
    return np.array(page.evaluate(script, canvas)).reshape(28, 28, 4)[..., 0]


def in_javascript(page, content: bytes, images: np.ndarray) -> np.ndarray:
    """The restorations of images by the page's own functions, with the model in a file."""
    script = """async ([bytes, images]) => {
        const { model, parse, restore } = await import('/_static/demo/model.js');
        const dA = model(parse(new Uint8Array(bytes).buffer));
        return images.map(x => Array.from(restore(dA, Float32Array.from(x)))); }"""
    return np.array(page.evaluate(script, [list(content), images.tolist()]))


def test_javascript_and_jax_agree(page, trained):
    x = digits()
    expected = np.asarray(autoencoder.reconstruct(trained, x))
    exact = in_javascript(page, save(trained._asdict()), x)
    np.testing.assert_allclose(exact, expected, rtol=0, atol=1e-5)
    in_10_bits = in_javascript(page, exporting.to_web(_model(trained)), x)
    np.testing.assert_allclose(in_10_bits, expected, rtol=0, atol=1e-2)


def test_a_digit_of_mnist_is_shown_damaged_and_restored(page):
    examples = load_file(STATIC / "digits.safetensors")
    clean = examples["images"][0].reshape(28, 28)
    np.testing.assert_array_equal(pixels(page, "clean"), clean)
    damaged = pixels(page, "damaged")
    assert ((damaged == clean) | (damaged == 0)).all() and (damaged != clean).any()
    page.select_option("#noise", "salt and pepper")
    page.fill("#level", "20")
    changed = pixels(page, "damaged") != clean
    assert 0.05 < changed.mean() < 0.35
    assert "salt and pepper, 20 %" in page.inner_text("#summary")
    page.click("#digits button:nth-child(36)")
    np.testing.assert_array_equal(pixels(page, "clean").ravel(), examples["images"][35])


def test_noise_helps_where_there_is_noise_and_again_goes_on(page):
    error = lambda level: float(page.inner_text(f"#error-{level}"))  # noqa: E731
    page.fill("#level", "50")
    first = {level: error(level) for level in LEVELS}
    assert min(first[30], first[50]) < first[0]
    before = pixels(page, "restored-50")
    page.click("#again")
    assert (pixels(page, "restored-50") != before).any()
    assert "After 2 restorations" in page.inner_text("#summary")
    page.click("#other")
    assert "After 1 restoration:" in page.inner_text("#summary")
    page.fill("#level", "0")
    np.testing.assert_array_equal(pixels(page, "damaged"), pixels(page, "clean"))


def test_a_drawing_is_scaled_and_centred_as_mnists_digits_are(page):
    page.click("#clear")
    assert pixels(page, "clean").max() == 0
    box = page.locator("#drawing").bounding_box()
    at = lambda x, y: (box["x"] + x * box["width"], box["y"] + y * box["height"])  # noqa: E731
    page.mouse.move(*at(0.1, 0.2))  # a one, in a corner
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(*at(0.1, 0.2 + 0.05 * step))
    page.mouse.up()
    image = pixels(page, "clean").astype(float)
    rows, columns = np.flatnonzero(image.max(axis=1)), np.flatnonzero(image.max(axis=0))
    assert np.ptp(rows) + 1 == 20 and image.max() == 255
    assert 2 <= np.ptp(columns) + 1 <= 6
    mass = image.sum()
    centre = [(image.sum(axis=k) * (np.arange(28) + 0.5)).sum() / mass for k in (1, 0)]
    np.testing.assert_allclose(centre, 14, atol=0.6)


def test_everything_can_be_done_without_a_mouse(page):
    page.click("#clear")
    page.focus("#drawing")
    for key in ["Space", *["ArrowDown"] * 8, "Space", "ArrowRight"]:
        page.keyboard.press(key)
    image = pixels(page, "clean")
    assert np.ptp(np.flatnonzero(image.max(axis=1))) + 1 == 20
    page.keyboard.press("Escape")
    assert pixels(page, "clean").max() == 0
    page.focus("#digits button:nth-child(11)")
    page.keyboard.press("Enter")
    assert pixels(page, "clean").max() == 255
    names = page.eval_on_selector_all("#digits button", "all => all.map(b => b.ariaLabel)")
    assert names[10] == "digit 2 of MNIST, number 11"
    labels = page.eval_on_selector_all("#demo canvas[role]", "all => all.map(c => c.ariaLabel)")
    assert all(labels) and len(labels) == 7 + 12


def test_touch_draws_too(page):
    page.click("#clear")
    page.touchscreen.tap(*(page.locator("#drawing").bounding_box()[key] + 60 for key in "xy"))
    assert pixels(page, "clean").max() == 255


def test_the_most_active_units_are_those_of_the_chosen_model(page):
    names = lambda: page.eval_on_selector_all("#units canvas", "a => a.map(c => c.ariaLabel)")  # noqa: E731
    of_30 = names()
    page.check("[name=which][value='50']")
    assert len(of_30) == 12 and names() != of_30
    assert all(re.fullmatch(r"filter of unit \d+, activation [01]\.\d\d", name) for name in names())


def test_the_page_fits_a_telephone(browser, address):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/docs/demo.html")
    page.wait_for_selector("#demo[data-ready]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_models_that_cannot_be_loaded_are_said(browser, address):
    page = browser.new_page()
    page.route("**/models/*", lambda route: route.abort())
    page.goto(f"{address}/docs/demo.html")
    page.wait_for_function(
        "document.getElementById('summary').textContent.includes('not be loaded')"
    )
    page.close()
