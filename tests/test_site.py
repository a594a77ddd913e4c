"""What the site adds to its pages: head metadata, numbers, links, labels, a banner."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers import ROOT, script

pytest.importorskip("sphinx", reason="Sphinx is of the extra docs")
DOCS = ROOT / "docs"
CONF = """
import sys
sys.path.insert(0, {docs!r})
extensions = ["myst_parser", "sphinx.ext.autodoc", "site_pages", "stylesheets"]
myst_enable_extensions = ["colon_fence"]
default_role = "py:obj"
project, root_doc, html_theme = "dae_jax", "docs/index", "furo"
description = "Of a page without words."
exclude_patterns = ["site"]
"""
PAGES = {
    "docs/picture.md": "# Picture\n\nA page with a picture, whose size is stated in it.\n\n"
    "![A card](../_static/card.png)\n",
    "docs/index.md": "# dae_jax\n\n"
    "**Damage** the image, restore it, and learn what it is made of.\n\n"
    "```{toctree}\n:glob:\n\n../tutorials/*\n*\n```\n",
    "docs/glossary.md": "# Glossary\n\n"
    "```{glossary}\nsalt and pepper\n  Noise.\n\nkey\n  State.\n```\n",
    "docs/reference.rst": "Reference\n=========\n\n.. autofunction:: dae_jax.autoencoder.encode\n",
    "docs/results.md": "# Results\n\nPublished numbers beside measured ones.\n\n"
    "| experiment | number | verdict |\n|---|---|---|\n| `mlp` | test | agrees |\n"
    "|  | more & more | **worse** |\n",
    "tutorials/04_denoising.md": "# Denoising\n\n*Before this page: another, and a third one.*\n\n"
    "**What you will learn**\n\n- why *salt & pepper* is hard;\n- how to.\n\n"
    "Salt and pepper, and salt and pepper again; a key. `dae_jax.autoencoder.encode`, `a.b`.\n",
}


def build(folder: Path, **environment: str) -> dict[str, str]:
    """The HTML of a small site, by page."""
    for name, text in PAGES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "docs/conf.py").write_text(CONF.format(docs=str(DOCS)))
    (folder / "_static").mkdir()
    shutil.copy(DOCS / "_static/card.png", folder / "_static")
    variables = {k: v for k, v in os.environ.items() if k != "GITHUB_REPOSITORY"}
    command = [sys.executable, "-m", "sphinx", "-q", "-c", "docs", ".", "site"]
    subprocess.run(command, cwd=folder, env={**variables, **environment}, check=True)
    return {name: (folder / "site" / name).with_suffix(".html").read_text() for name in PAGES}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The site of a repository, its pages at reduced size."""
    folder = tmp_path_factory.mktemp("site")
    return build(folder, DAE_JAX_TUTORIAL="quick", GITHUB_REPOSITORY="Someone/dae_jax")


def meta(page: str) -> dict[str, str]:
    return dict(re.findall(r'<meta (?:name|property)="([\w:]+)" content="([^"]*)"', page))


@pytest.mark.slow
def test_every_page_has_a_description_and_a_card(site):
    for name, page in site.items():
        assert {"description", "twitter:card", "og:title", "og:image:alt"} <= set(meta(page)), name
    index, tutorial = meta(site["docs/index.md"]), meta(site["tutorials/04_denoising.md"])
    assert index["description"] == "Damage the image, restore it, and learn what it is made of."
    assert tutorial["description"] == "Why salt &amp; pepper is hard; how to"
    assert tutorial["og:title"] == "4. Denoising"
    base = "https://someone.github.io/dae_jax/"
    assert tutorial["og:image"] == f"{base}_static/card.png"
    assert tutorial["og:url"] == f"{base}tutorials/04_denoising.html"


@pytest.mark.slow
def test_without_a_repository_no_address_is_invented(tmp_path):
    pages = build(tmp_path, DAE_JAX_TUTORIAL="full")
    for page in pages.values():
        assert "og:url" not in meta(page) and "github" not in meta(page)["og:image"]
    assert 'class="reduced"' not in pages["tutorials/04_denoising.md"]


@pytest.mark.slow
def test_a_tutorial_has_its_number_and_says_that_it_is_small(site):
    page = site["tutorials/04_denoising.md"]
    assert "<h1>4. Denoising<" in page and 'class="reduced"' in page
    assert "4. Denoising" in site["docs/index.md"]
    assert 'class="reduced"' not in site["docs/index.md"]


@pytest.mark.slow
def test_the_first_mention_of_a_term_and_names_in_code_are_links(site):
    page = site["tutorials/04_denoising.md"]
    links = re.findall(r'<a class="[^"]*term[^"]*" href="([^"]+)">([^<]+)</a>', page)
    assert links == [("../docs/glossary.html#term-salt-and-pepper", "Salt and pepper")]
    assert 'href="../docs/reference.html#dae_jax.autoencoder.encode"' in page
    assert page.count("dae_jax.autoencoder.encode</span>") == 1


@pytest.mark.slow
def test_pictures_have_sizes_and_the_navigation_has_levels(site):
    assert '<img width="1200" height="630" alt="A card"' in site["docs/picture.md"]
    for page in site.values():
        assert 'role="heading"' not in page.replace('role="heading" aria-level="2"', "")


@pytest.mark.slow
def test_a_page_asks_for_one_stylesheet_and_for_nothing_elsewhere(site):
    for name, page in site.items():
        (sheet,) = re.findall(r'<link rel="stylesheet" type="text/css" href="([^"]+)"', page)
        assert re.fullmatch(r"\.\./_static/all-\w{8}\.css", sheet)
        loaded = re.findall(r'<(?:script|img|iframe)\b[^>]*?src="([^"]+)"', page)
        loaded += re.findall(
            r'<link\b[^>]*rel="(?:stylesheet|shortcut icon)"[^>]*href="([^"]+)"', page
        )
        assert not [where for where in loaded if "://" in where], name


SECTIONS = """<!doctype html><html lang="en" style="overflow-anchor: none"><meta charset="utf-8">
<link rel="icon" href="data:,"><link rel="stylesheet" href="../_static/site.css">
<article><section><h1>A page, in a browser that does not hold its place when something grows</h1>
{}
<section id="place"><h2>The place</h2><div style="height: 2000px"></div></section>
</section></article>{}</html>"""
SECTION = '<section><h2>{}</h2><div style="height: 300px"></div></section>'
GROWS = """<script type="module">
import { toTarget } from "../_static/elements.js";
await new Promise((done) => setTimeout(done, 300));
document.querySelector("section section > div").style.height = "900px";
toTarget();
document.body.dataset.grown = "";
</script>"""


@pytest.mark.parametrize("growth", ["", GROWS], ids=["still", "grows"])
def test_a_link_into_a_page_leads_to_its_place(open_html, growth):
    html = SECTIONS.format("\n".join(map(SECTION.format, range(9))), growth)
    page = open_html(html, 390, place="#place")
    page.wait_for_selector("body[data-grown]" if growth else "body", state="attached")
    page.wait_for_timeout(500)
    assert 0 <= page.evaluate("document.querySelector('#place').getBoundingClientRect().top") < 100


def test_joined_stylesheets_find_their_files(tmp_path):
    (tmp_path / "katex").mkdir()
    fonts = "@font-face{font-display:block;src:url(fonts/a.woff2)}"
    (tmp_path / "katex/katex.css").write_text(fonts)
    (tmp_path / "site.css").write_text('a{background:url("data:image/png,x")} b{src:url(x.png)}')
    text = script(DOCS / "stylesheets.py").bundle(tmp_path, ("katex/katex.css", "site.css"))
    assert text == (
        "/* katex/katex.css site.css */\n"
        "@font-face{font-display:swap;src:url(katex/fonts/a.woff2)}\n"
        'a{background:url("data:image/png,x")} b{src:url(x.png)}'
    )


def test_a_page_that_is_not_written_again_has_the_new_styles(tmp_path):
    static = tmp_path / "_static"
    static.mkdir()
    pages = [tmp_path / "a.html", tmp_path / "b.html"]
    links = (
        f'<link rel="stylesheet" type="text/css" href="_static/{name}.css?v=1" />\n'
        for name in "xy"
    )
    head = "".join(links)
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(name="html"))
    join = script(DOCS / "stylesheets.py")._join
    for colour in ("red", "blue"):
        pages[0].write_text(head)
        if not pages[1].exists():
            pages[1].write_text(head)
        for name in "xy":
            (static / f"{name}.css").write_text(f"{name} {{color: {colour}}}")
        join(app, None)
        for page in pages:
            [sheet] = re.findall(r'href="([^"]+)"', page.read_text())
            assert (tmp_path / sheet).read_text().splitlines()[1:] == [
                f"x {{color: {colour}}}",
                f"y {{color: {colour}}}",
            ]


@pytest.mark.slow
def test_the_rows_of_the_results_are_labelled_cards(site):
    page = site["docs/results.md"]
    assert re.search(r'<table class="cards ', page)
    cells = re.findall(r'<td data-label="(\w+)"', page)
    assert cells == ["experiment", "number", "verdict"] * 2
    assert re.findall(r'data-verdict="(\w+)"', page) == ["agrees", "worse"]
    assert re.search(r'<div class="again">.*mlp', page)


def test_the_weights_are_models_that_restore_digits(tmp_path):
    import numpy as np

    import dae_jax
    from dae_jax import datasets

    files = script(DOCS / "weights.py").write(tmp_path / "weights")
    linked = re.findall(r'href="../weights/(\w+\.safetensors)"', (DOCS / "models.md").read_text())
    of_pages = ["ladder.safetensors", "stack.safetensors"]  # see `tutorial.offer`
    assert sorted(linked) == [*(path.name for path in files), *of_pages]
    images = np.asarray(datasets.load("mnist-sample").test.images[:200])
    damaged = images * (np.random.default_rng(0).random(images.shape) > 0.3).astype(np.uint8)
    errors = {}
    for path in files:
        model = dae_jax.load(path)
        assert model.widths == (784, 500)
        level = round(100 * model.card.denoising["corruption"])
        assert path.stem == f"da_{level}"
        errors[level] = np.square(model.reconstruct(damaged) - images / 255).mean()
    assert min(errors, key=errors.__getitem__) == 30 and errors[30] < 0.5 * errors[0]


def test_the_weights_are_those_that_the_demonstration_was_made_of(tmp_path):
    """Packed again, they are the same bits."""
    from safetensors.numpy import load, load_file

    from dae_jax.runs import exporting

    path = DOCS / "_static" / "demo" / "models" / "da_30.safetensors"
    again = load(exporting.to_web(script(DOCS / "weights.py").unpacked(path)))
    for name, value in load_file(path).items():
        assert (again[name] == value).all(), name


def test_the_card_is_as_large_as_it_says():
    from PIL import Image

    with Image.open(DOCS / "_static" / "card.png") as card:
        assert card.size == (1200, 630)


def test_the_card_and_the_icon_are_those_of_their_script():
    import numpy as np
    from PIL import Image

    module = script(DOCS / "card.py")
    with Image.open(DOCS / "_static" / "icon.png") as icon:
        np.testing.assert_array_equal(np.asarray(icon), np.asarray(module.icon()))
