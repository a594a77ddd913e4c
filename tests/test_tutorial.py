"""Helpers of the tutorial pages: their size, their data, and what they show."""

import ast
import inspect
import re
import sys

import jax
import numpy as np
import pytest

from dae_jax import autoencoder, corruption, datasets, deep, objectives, stacked, training, tutorial
from dae_jax.datasets import mnist
from dae_jax.runs import saved
from helpers import ROOT


@pytest.mark.parametrize(("value", "quick"), [("quick", True), ("full", False), (None, False)])
def test_the_size_of_a_page_is_that_of_the_environment(monkeypatch, value, quick):
    monkeypatch.delenv("DAE_JAX_TUTORIAL", raising=False)
    if value is not None:
        monkeypatch.setenv("DAE_JAX_TUTORIAL", value)
    assert tutorial.quick() is quick
    assert tutorial.size(50, 2) == (2 if quick else 50)


def test_a_quick_page_learns_from_the_first_images_of_the_sample(monkeypatch):
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "quick")
    whole, few = datasets.load("mnist-sample"), tutorial.mnist()
    assert few.name == "mnist-sample" and len(few.train.images) == tutorial.QUICK_IMAGES
    for part, all_of_it in zip(few.train, whole.train, strict=True):
        np.testing.assert_array_equal(part, all_of_it[: tutorial.QUICK_IMAGES])
    np.testing.assert_array_equal(few.test.images, whole.test.images)


def test_a_full_page_learns_from_mnist_or_the_sample(monkeypatch):
    def unavailable():
        raise mnist.UnavailableError("MNIST")

    monkeypatch.delenv("DAE_JAX_TUTORIAL", raising=False)
    monkeypatch.setattr(mnist, "read_mnist", unavailable)
    assert len(tutorial.mnist().train.images) == 4000


def test_the_numbers_of_a_page_apply_at_full_size_on_all_of_mnist(monkeypatch):
    sample = datasets.load("mnist-sample")
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "full")
    assert tutorial.full(sample._replace(name="mnist")) and not tutorial.full(sample)
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "quick")
    assert not tutorial.full(sample._replace(name="mnist"))


def test_a_page_offers_its_classifier_where_a_site_is_built(monkeypatch, tmp_path):
    data = datasets.load("mnist-sample")
    layers = stacked.init(jax.random.key(0), 784, [5])
    model = stacked.classifier(layers, n_inputs=784, n_classes=10)
    monkeypatch.delenv("DAE_JAX_DOWNLOADS", raising=False)
    tutorial.offer("stack", model, data)
    monkeypatch.setenv("DAE_JAX_DOWNLOADS", str(tmp_path / "weights"))
    tutorial.offer("stack", model, data, activation="relu")
    loaded = saved.load(tmp_path / "weights" / "stack.safetensors")
    assert loaded.card.activation == "relu" and loaded.widths == (784, 5, 10)
    expected = stacked.logits(
        model, data.test.images[:20] / np.float32(255), activation=jax.nn.relu
    )
    labels = loaded.predict(data.test.images[:20])
    np.testing.assert_array_equal(labels.astype(int), expected.argmax(axis=1))


def test_the_pages_link_to_what_they_offer():
    pages = ROOT / "tutorials"
    for page in ("05_stacking", "13_the_ladder"):
        text = (pages / f"{page}.md").read_text()
        [name] = re.findall(r'^tutorial\.offer\("(\w+)"', text, re.MULTILINE)
        for path in (pages / f"{page}.md", ROOT / "docs/models.md"):
            assert f'href="../weights/{name}.safetensors"' in path.read_text()


def test_a_sheet_is_enlarged_without_smoothing():
    sheet = np.arange(6, dtype=np.uint8).reshape(2, 3)
    image = np.asarray(tutorial.show(sheet, zoom=3))
    np.testing.assert_array_equal(image, sheet.repeat(3, axis=0).repeat(3, axis=1))


def test_an_equation_of_two_lines_is_two_lines():
    shown = tutorial.source(autoencoder.encode)
    assert shown.name == "dae_jax.autoencoder.encode"
    assert repr(shown) == shown.code
    assert shown.code.splitlines() == [
        "def encode(params, x):",
        "    return jax.nn.sigmoid(x @ params.W + params.b)",
    ]
    assert shown._repr_markdown_() == f"```python\n{shown.code}\n```\n\n`{shown.name}`\n"


def test_a_compiled_function_is_shown_by_its_public_name():
    shown = tutorial.source(training.run_epoch)
    assert shown.name == "dae_jax.training.run_epoch"
    assert shown.code.startswith("def _epoch(\n    state, cost, data, key, epoch,")
    assert "    def step(state, xs):\n" in shown.code and "# Steps use" in shown.code


def test_a_class_keeps_the_types_of_its_fields_and_their_comments():
    code = tutorial.source(deep.Architecture).code
    # From Python 3.13 on, the decorators that check types in the tests hide the line of this one.
    decorator = "" if sys.version_info >= (3, 13) else "@dataclass(frozen=True)\n"
    assert code.startswith(f"{decorator}class Architecture:\n    sizes: tuple[int, ...]  # units")
    assert "    def encoder(self):\n        return (" in code


@pytest.mark.parametrize("module", [autoencoder, corruption, deep, objectives, stacked, training])
def test_the_shown_code_is_the_code_without_docstrings_and_types(module):
    class Types(ast.NodeTransformer):
        def visit_arg(self, node):
            return ast.arg(node.arg)

        def visit_FunctionDef(self, node):
            node.returns = None
            return self.visit_ClassDef(node)

        def visit_ClassDef(self, node):
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
            return self.generic_visit(node)

    for name in module.__all__:
        if not inspect.isfunction(inspect.unwrap(getattr(module, name))):
            continue
        whole = ast.parse(inspect.getsource(inspect.unwrap(getattr(module, name))))
        expected = Types().visit(whole)
        for node in ast.walk(expected):
            for field, body in ast.iter_fields(node):
                if isinstance(body, list):
                    plain = [
                        ast.Assign([each.target], each.value, lineno=0)
                        if isinstance(each, ast.AnnAssign)
                        else each
                        for each in body
                    ]
                    setattr(node, field, plain)
        assert ast.unparse(ast.parse(tutorial.source(getattr(module, name)).code)) == ast.unparse(
            expected
        ), name
