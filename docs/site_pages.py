"""Pages of the site: what search engines and cards say of them, numbers, links, a banner.

Tutorials get their number, from their file, in front of their title. The first mention of a
glossary's term links to it, and so do names of the package in code to the reference. Diagrams of
Matplotlib get the class ``plot``, which the style brightens in the dark, or ``slab``, which it
dims, if they are on white.
"""

import html
import os
import re
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from docutils import nodes
from PIL import Image
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

__all__ = ["address", "repository", "setup"]

QUICK = (
    '<p class="reduced"><strong>Built at reduced size:</strong> numbers and figures are not the '
    "full run’s.</p>"
)
AMBIGUOUS = {"code", "key", "level", "epoch"}  # everyday words, too
CARD = "_static/card.png"  # made by docs/card.py
CARD_SAYS = "Two sheets of filters: grain without noise, strokes with 30 % of the pixels masked"


def repository() -> str | None:
    """The address of the repository: GitHub's runners name it, else pyproject.toml may."""
    if name := os.environ.get("GITHUB_REPOSITORY"):  # "owner/name"
        return f"https://github.com/{name}"
    project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())
    urls = {key.lower(): url for key, url in project["project"].get("urls", {}).items()}
    return urls.get("repository")


def address() -> str:
    """The address of the site on GitHub's pages, with a slash at its end; empty if not known."""
    found = re.fullmatch(r"https://github\.com/([\w.-]+)/([\w.-]+)", repository() or "")
    return f"https://{found[1].lower()}.github.io/{found[2]}/" if found else ""


def _number(app: Sphinx, page: str, source: list[str]) -> None:
    """Number a tutorial, and say so where it is built at reduced size."""
    if found := re.fullmatch(r"tutorials/0*(\d+)_\w+", page):
        banner = f"\n\n{QUICK}" if os.environ.get("DAE_JAX_TUTORIAL") == "quick" else ""
        title = rf"# {found[1]}. \1{banner}"
        source[0] = re.sub(r"^# (.+)$", title, source[0], count=1, flags=re.MULTILINE)


def _mark_plots(app: Sphinx, doctree: nodes.document) -> None:
    for image in doctree.findall(nodes.image):
        path = Path(app.srcdir, image["uri"])
        if path.suffix == ".png" and path.is_file():
            with Image.open(path) as picture:
                if "Matplotlib" in picture.info.get("Software", ""):
                    corner = picture.convert("RGBA").getpixel((0, 0))
                    image["classes"].append("plot" if corner[3] == 0 else "slab")


def _link_names(app: Sphinx, doctree: nodes.document) -> None:
    """Link names of the package in code, such as `dae_jax.training.fit`, to the reference."""
    for literal in list(doctree.findall(nodes.literal)):
        name = literal.astext()
        inside = isinstance(literal.parent, nodes.reference | pending_xref)
        if inside or not re.fullmatch(r"(dae_jax\.)?[a-z_]+(\.\w+)+", name):
            continue
        link = pending_xref(
            "",
            literal.deepcopy(),
            refdomain="py",
            reftype="obj",
            reftarget=name,
            refdoc=app.env.docname,
            refexplicit=True,
        )
        literal.parent.replace(literal, link)


def _link_terms(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Link the first mention of each of the glossary's terms on a page of prose."""
    if page.startswith("docs/reference") or page in ("docs/glossary", app.config.root_doc):
        return
    entries: dict[str, tuple[str, str]] = {}
    for (kind, name), (where, anchor) in app.env.domains["std"].objects.items():
        if kind == "term":
            short = re.sub(r" \(.*\)$", "", name).lower()
            if short not in AMBIGUOUS:
                entries[short] = where, anchor
    if not entries:
        return
    longest = sorted(entries, key=len, reverse=True)
    either = re.compile(rf"\b({'|'.join(map(re.escape, longest))})(s|es)?\b", re.IGNORECASE)
    for text in list(doctree.findall(nodes.Text)):
        if not isinstance(text.parent, nodes.paragraph) or _is_beside(text):
            continue
        parts: list[nodes.Node] = []
        rest = str(text)
        while found := next((m for m in either.finditer(rest) if m[1].lower() in entries), None):
            where, anchor = entries.pop(found[1].lower())
            uri = f"{app.builder.get_relative_uri(page, where)}#{anchor}"
            link = nodes.reference("", found[0], refuri=uri, internal=True, classes=["term"])
            parts += [nodes.Text(rest[: found.start()]), link]
            rest = rest[found.end() :]
        if parts:
            index = text.parent.index(text)
            text.parent[index : index + 1] = [*parts, nodes.Text(rest)]


def _is_beside(node: nodes.Node) -> bool:
    """Whether a text is in a table, caption, or output of a cell."""
    while node := node.parent:
        if isinstance(node, nodes.table | nodes.caption):
            return True
        if "cell_output" in getattr(node, "attributes", {}).get("classes", ()):
            return True
    return False


def description(doctree: nodes.document) -> str:
    """A page's promise: the list of what one learns there, else its first paragraph."""
    for paragraph in doctree.findall(nodes.paragraph):
        text = " ".join(paragraph.astext().split())
        if text == "What you will learn":
            items = paragraph.next_node(nodes.bullet_list, descend=False, siblings=True)
            if items is not None:
                text = "; ".join(" ".join(item.astext().split()).strip(";.") for item in items)
                return _cut(text[0].upper() + text[1:])
        elif len(text) > 40 and not text.startswith("Before this page"):
            return _cut(text)
    return ""


def _cut(text: str) -> str:
    text = re.sub(r"\$", "", text)
    return text if len(text) <= 200 else f"{text[:197].rsplit(' ', 1)[0].rstrip(',;')} …"


def _head(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Add the description and the card's lines to the head of a page."""
    if doctree is None:
        return
    title = re.sub(r"<.*?>", "", str(context.get("title", ""))) or app.config.project
    about = description(app.env.get_doctree(page)) or app.config.description
    base = address()
    image = f"{base}{CARD}" if base else context["pathto"](CARD, 1)
    named = {"description": about, "twitter:card": "summary_large_image"}
    graph = {
        "og:title": html.unescape(title),
        "og:description": about,
        "og:type": "website" if page == app.config.root_doc else "article",
        "og:site_name": app.config.project,
        "og:image": image,
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": CARD_SAYS,
    }
    if base:
        graph["og:url"] = f"{base}{page}.html"
    lines = [
        f'<meta {kind}="{key}" content="{html.escape(value)}">'
        for kind, pairs in (("name", named), ("property", graph))
        for key, value in pairs.items()
    ]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines) + "\n"


def _size_images(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """State the sizes of images, so that nothing moves when they come, and load later ones late."""
    files = {
        name: Path(app.srcdir, path) for path, name in getattr(app.builder, "images", {}).items()
    }
    seen = 0

    def sized(tag: re.Match[str]) -> str:
        nonlocal seen
        seen += 1
        late = ' loading="lazy"' if seen > 2 and "loading=" not in tag[0] else ""
        path = files.get(unquote(tag[1]))
        if path is None or not path.is_file() or path.suffix not in (".png", ".webp"):
            return f"<img{late}{tag[0][4:]}"
        with Image.open(path) as picture:
            width, height = picture.size
        return f'<img width="{width}" height="{height}"{late}{tag[0][4:]}'

    if "body" in context:
        pattern = r'<img\b(?![^>]*\bwidth=)[^>]*?src="[^"]*?([^"/]+)"[^>]*>'
        context["body"] = re.sub(pattern, sized, context["body"])


def _name_parts(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Give the navigation's headings their level, and hidden code the name that stands on it."""
    if "body" in context:
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def _label_cells(
    app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None
) -> None:
    """Label each cell of the tables of results, so that a telephone can show rows as cards."""
    if page == "docs/results" and "body" in context:
        context["body"] = re.sub(r"<table.*?</table>", _as_cards, context["body"], flags=re.DOTALL)


def _as_cards(table: re.Match[str]) -> str:
    labels = [html.unescape(re.sub("<.*?>", "", cell)) for cell in _cells(table[0], "th")]
    group = ""  # what stands beside the first of several rows

    def row(found: re.Match[str]) -> str:
        nonlocal group
        cells = []
        for label, cell in zip(labels, _cells(found[0], "td"), strict=False):
            inner, words = cell, re.sub("<.*?>", "", cell).strip()
            if label == "experiment":
                group = cell if words else f'<div class="again">{_inside(group)}</div>'
                inner = group
                group = cell if words else group
            kind = f' data-verdict="{words}"' if label == "verdict" else ""
            cells.append(f'<td data-label="{html.escape(label)}"{kind}>{inner}</td>')
        return f"<tr>{''.join(cells)}</tr>" if cells else found[0]

    text = re.sub(r"<tr.*?</tr>", row, table[0], flags=re.DOTALL)
    return (
        re.sub(r'class="', 'class="cards ', text, count=1) if "experiment" in labels else table[0]
    )


def _inside(group: str) -> str:
    return re.sub(r'<div class="again">(.*)</div>', r"\1", group)


def _cells(text: str, tag: str) -> list[str]:
    return re.findall(rf"<{tag}\b[^>]*>(.*?)</{tag}>", text, flags=re.DOTALL)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect all of it."""
    app.add_config_value("description", "", "html")
    app.connect("source-read", _number)
    app.connect("doctree-read", _mark_plots)
    app.connect("doctree-read", _link_names)
    app.connect("doctree-resolved", _link_terms)
    app.connect("html-page-context", _head)
    app.connect("html-page-context", _label_cells)
    app.connect("html-page-context", _size_images)
    app.connect("html-page-context", _name_parts, priority=900)  # after the theme
    return {"parallel_read_safe": True, "parallel_write_safe": True}
