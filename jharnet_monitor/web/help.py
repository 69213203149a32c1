"""Renders the help's Markdown to HTML with anchors, links and scrolling tables."""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

from jharnet_monitor.help.pages import INDEX, NAMES, PICTURES, Page, page

if TYPE_CHECKING:
    from markdown_it.token import Token

DEEPEST = 3
"""Lowest level of headings in the table of contents."""
_WIDE = re.compile(r"(<table>.*?</table>|<p><img [^>]*></p>)", re.DOTALL)
"""What may be wider than a phone's screen and gets its own scroll bar."""
_ONE_PARSES = threading.Lock()
"""mdurl fills its table of characters at first use, and lets other threads read it meanwhile."""

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""A picture may use its own styles, for light and dark mode, but nothing else."""


def picture_headers(name: str) -> Mapping[str, str]:
    """The headers of a picture, by the ending of its name."""
    kind = "image/svg+xml" if name.endswith(".svg") else "image/png"
    return {"Content-Type": kind, "Content-Security-Policy": _POLICY}


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a page with its anchor."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class PageLink:
    """A link to a page of the help."""

    address: str
    title: str
    language: str


@dataclass(frozen=True, slots=True)
class HelpPage:
    """A page for the template. `html` was rendered with raw HTML disabled; `before` and `after` are
    the neighbouring pages."""

    title: str
    language: str
    address: str
    html: str
    headings: tuple[Heading, ...]
    before: PageLink | None
    after: PageLink | None


@cache
def help_page(name: str, language: str) -> HelpPage:
    """A page for a reader of `en` or `hi`; raises `KeyError` for an unknown name."""
    found = page(name, language)
    html, headings = render(found.text)
    number = NAMES.index(name)
    return HelpPage(
        found.title,
        found.language,
        found.address,
        html,
        tuple(headings),
        _link(page(NAMES[number - 1], language)) if number else None,
        _link(page(NAMES[number + 1], language)) if number + 1 < len(NAMES) else None,
    )


@cache
def contents(language: str) -> tuple[PageLink, ...]:
    """Every page, in order."""
    return tuple(_link(page(name, language)) for name in NAMES)


def _link(to: Page) -> PageLink:
    return PageLink(to.address, to.title, to.language)


def render(text: str) -> tuple[str, list[Heading]]:
    """Render Markdown (CommonMark with tables) to HTML; also returns the headings."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only the help needs it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    with _ONE_PARSES:
        tokens = markdown.parse(text)
    headings = list(_add_anchors(tokens))
    for token in tokens:
        _adapt(token)
    html = str(markdown.renderer.render(tokens, markdown.options, {}))
    return _WIDE.sub(r'<div class="scroll" tabindex="0">\1</div>', html), headings


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts derive it.

    >>> slug("`probes.latency`"), slug("States and causes"), slug("विलंबता क्या है?")
    ('probeslatency', 'states-and-causes', 'विलंबता-क्या-है')
    """
    letters = (
        c for c in heading.lower() if c in " -" or unicodedata.category(c)[0] in "LMN" or c == "_"
    )
    return "".join(letters).strip().replace(" ", "-")


def _add_anchors(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give every heading a unique anchor; yields those for the table of contents."""
    seen: dict[str, int] = {}
    for opening, inline in pairwise(tokens):
        if opening.type != "heading_open":
            continue
        text = "".join(child.content for child in inline.children or ())
        anchor = slug(text)
        again = seen.get(anchor, 0)
        seen[anchor] = again + 1
        if again:
            anchor = f"{anchor}-{again}"
        opening.attrSet("id", anchor)
        level = int(opening.tag[1:])
        if 1 < level <= DEEPEST:
            yield Heading(level, anchor, text)


def _adapt(token: Token) -> None:
    """Rewrite addresses for the hub, and remove styles that the security policy forbids."""
    for child in token.children or ():
        _adapt(child)
    if token.type == "link_open":
        token.attrSet("href", hub_address(str(token.attrGet("href"))))
    elif token.type == "image" and token.attrGet("src") in PICTURES:
        token.attrSet("src", str(token.attrGet("src")))
    elif token.type in ("th_open", "td_open") and "style" in token.attrs:
        del token.attrs["style"]
        token.attrSet("class", "number")


def hub_address(target: str) -> str:
    """The address of a link's target, relative to the pages of the help.

    >>> hub_address("method.md#jitter"), hub_address("README.md"), hub_address("operator.hi.md")
    ('method#jitter', './', 'operator?lang=hi')
    """
    match = re.fullmatch(r"([a-z]+|README)(\.hi)?\.md(#.*)?", target)
    if match is None:
        return target
    name, hindi, anchor = match[1], match[2], match[3] or ""
    return f"{'./' if name == INDEX else name}{'?lang=hi' if hindi else ''}{anchor}"
