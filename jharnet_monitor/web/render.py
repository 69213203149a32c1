"""Renders Jinja2 templates in the reader's language."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from jharnet_monitor.i18n.formats import Formats, share_whole, size
from jharnet_monitor.web.charts import HEIGHT, WIDTH
from jharnet_monitor.web.glance import STRIP

STATIC = files("jharnet_monitor.web").joinpath("static")


class Renderer:
    """Renders pages. Undefined names are errors, and all text is escaped."""

    def __init__(self, base: str = "") -> None:
        """`base` stands before every address of the hub's own, where a proxy adds a path."""
        self._environment = Environment(
            loader=PackageLoader("jharnet_monitor.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._environment.globals |= {
            "static": lambda name: base + _versioned(name),
            "base": base,
            "strip_width": STRIP,
            "chart_width": WIDTH,
            "chart_height": HEIGHT,
        }
        self._environment.filters |= {"percent": share_whole, "size": size}

    def render(self, template: str, formats: Formats, **content: Any) -> str:
        """Render a page; templates use `t` for words and `f` for formats."""
        language = formats.words.language
        return self._environment.get_template(template).render(
            t=formats.words,
            f=formats,
            language=language,
            other_language="en" if language == "hi" else "hi",
            **content,
        )


@cache
def _versioned(name: str) -> str:
    """The address of an asset, which changes with its content, so that browsers may cache it."""
    digest = hashlib.sha256(STATIC.joinpath(name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"
