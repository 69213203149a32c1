"""Renders HTML: a single file without external resources, with all text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from jharnet_monitor.report.output.files import TypesettingError

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import (  # noqa: PLC0415 - slow to load, and not needed for PDF
        Environment,
        PackageLoader,
        StrictUndefined,
    )

    return Environment(
        loader=PackageLoader("jharnet_monitor.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render_html(template: str, data: Mapping[str, Any]) -> bytes:
    """Render a template of this package (`weekly.html.j2`); raises `TypesettingError`."""
    from jinja2 import TemplateError  # noqa: PLC0415

    try:
        return _environment().get_template(template).render(doc=data).encode()
    except TemplateError as error:
        raise TypesettingError(f"{template}: {error}") from error
