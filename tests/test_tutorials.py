"""Every tutorial page runs from top to bottom, in a fresh kernel, without a warning.

The cells are those of the published pages, on fewer images for fewer epochs; see
`dae_jax.tutorial`.
"""

import re
from pathlib import Path

import jupytext
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "tutorials"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.setenv("DAE_JAX_TUTORIAL", "quick")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = jupytext.read(page, fmt="md:myst")
    client = NotebookClient(
        notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()  # raises the first exception of a cell
    for cell in notebook.cells:
        drawn = any("image/png" in out.get("data", ()) for out in cell.get("outputs", ()))
        described = "alt" in cell.metadata.get("mystnb", {}).get("image", {})
        assert drawn == described, f"a figure without a description:\n{cell.source}"
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", ())]
    warnings = [out.text for out in outputs if out.get("name") == "stderr"]
    assert not warnings, warnings
    assert outputs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_has_all_its_parts(page):
    text = page.read_text()
    assert "**What you will learn**" in text
    assert text.count("<details>") == text.count("</details>") >= 3
    assert "## Sources" in text
    assert re.search(r"^\s*assert .*shape", text, re.MULTILINE), "no shape check"
    assert not re.search(r"from dae_jax.* import .* as ", text), "a name of its own for a module"
    links = re.findall(r"\]\(([\w./-]+\.md)\)", text)
    assert all((FOLDER / link).resolve().exists() for link in links), links
    if page != PAGES[-1]:
        assert f"({PAGES[PAGES.index(page) + 1].name})" in text  # the next page


def test_the_pages_are_numbered_without_a_gap():
    numbers = [int(page.name[:2]) for page in PAGES]
    assert numbers == list(range(1, len(PAGES) + 1))
