"""The report for a browser: one file, nothing from outside, everything escaped."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from jharnet_monitor.report.output.files import TypesettingError

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def _environment() -> Environment:
    from jinja2 import (  # noqa: PLC0415 - slow to load, and no PDF needs it
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


def set_html(template: str, data: Mapping[str, Any]) -> bytes:
    """A page from a template of ours (`weekly.html.j2`) and its data; raises `TypesettingError`."""
    from jinja2 import TemplateError  # noqa: PLC0415

    try:
        return _environment().get_template(template).render(doc=data).encode()
    except TemplateError as error:
        raise TypesettingError(f"{template}: {error}") from error
