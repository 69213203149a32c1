"""The help's Markdown as HTML: headings with anchors, links between pages, tables that scroll."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING

from jharnet_monitor.help.pages import INDEX, NAMES, PICTURES, Page, address, page

if TYPE_CHECKING:
    from markdown_it.token import Token

DEEPEST = 3
"""Headings down to this level stand in the table of contents."""
_WIDE = re.compile(r"(<table>.*?</table>|<p><img [^>]*></p>)", re.DOTALL)
"""What may be wider than a phone, and then scrolls by itself."""

PICTURE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Type": "image/svg+xml",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    }
)
"""A picture carries its own colours, light and dark, and nothing else."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a page, and where it leads."""

    level: int
    anchor: str
    text: str


@dataclass(frozen=True, slots=True)
class PageLink:
    """A page of the help as another one leads to it."""

    address: str
    title: str
    language: str


@dataclass(frozen=True, slots=True)
class HelpPage:
    """A page as the template takes it. `html` is rendered with HTML in the text switched off;
    `before` and `after` are its neighbours."""

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
    """HTML of Markdown (CommonMark with tables), and the headings below the title."""
    from markdown_it import MarkdownIt  # noqa: PLC0415 - only who reads the help pays for it

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(text)
    headings = list(_anchored(tokens))
    for token in tokens:
        _prepare(token)
    html = str(markdown.renderer.render(tokens, markdown.options, {}))
    return _WIDE.sub(r'<div class="scroll" tabindex="0">\1</div>', html), headings


def slug(heading: str) -> str:
    """The anchor of a heading, as code hosts make it.

    >>> slug("`probes.latency`"), slug("States and causes"), slug("विलंबता क्या है?")
    ('probeslatency', 'states-and-causes', 'विलंबता-क्या-है')
    """
    kept = (
        c for c in heading.lower() if c in " -" or unicodedata.category(c)[0] in "LMN" or c == "_"
    )
    return "".join(kept).strip().replace(" ", "-")


def _anchored(tokens: Sequence[Token]) -> Iterator[Heading]:
    """Give every heading an anchor of its own; yields those for the table of contents."""
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


def _prepare(token: Token) -> None:
    """Addresses as the hub has them; nothing that the content security policy forbids."""
    for child in token.children or ():
        _prepare(child)
    if token.type == "link_open":
        token.attrSet("href", served(str(token.attrGet("href"))))
    elif token.type == "image" and token.attrGet("src") in PICTURES:
        token.attrSet("src", f"/help/{token.attrGet('src')}")
    elif token.type in ("th_open", "td_open") and "style" in token.attrs:
        del token.attrs["style"]
        token.attrSet("class", "number")


def served(target: str) -> str:
    """Where the hub serves what a page links to.

    >>> served("method.md#jitter"), served("README.md"), served("#top"), served("operator.hi.md")
    ('/help/method#jitter', '/help/', '#top', '/help/operator?lang=hi')
    """
    match = re.fullmatch(r"([a-z]+|README)(\.hi)?\.md(#.*)?", target)
    if match is None:
        return target
    name, hindi, anchor = match[1], match[2], match[3] or ""
    return f"{address(INDEX if name == INDEX else name)}{'?lang=hi' if hindi else ''}{anchor}"
