"""What was changed in the sealed settings, in the words of the papers."""

from __future__ import annotations

import re
from typing import Any

from jharnet_monitor.config.units import parse_rate
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.settings_log import SettingChange
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words

_NAMED = {
    "link.contracted": "contracted",
    "link.contracted_up": "contracted_up",
    "link.sla": "sla",
    "seats": "seats",
}
"""An office's settings that have a name of their own in the papers; all others go by their key."""
_UNIT = re.compile(r"^(-?[\d.]+)([A-Za-z/]+)$")
"""A figure of the configuration and its unit, which stand apart in the papers."""
_LONGEST = 120
"""Characters of a value, such as a year's list of holidays, before it is cut."""


def setting_changes(case: Case, words: Words) -> list[str]:
    """A text for each change since the period's start, oldest first."""
    return [_text(case, one, words) for one in case.settings.changes(case.period.start)]


def settings_since(case: Case, words: Words) -> str:
    """Since when contracts, thresholds, policy and tariff are sealed."""
    since = case.settings.since
    if since is None:
        return words("dossier.settings.never")
    if since <= case.period.start:
        return words("dossier.settings.sealed")
    return words("dossier.settings.since", moment=formats.moment(since, case.zone, words))


def _text(case: Case, change: SettingChange, words: Words) -> str:
    return words(
        "dossier.settings.change",
        moment=formats.moment(change.at, case.zone, words),
        what=_name(case, change.key, words),
        before=_value(change.before, words),
        after=_value(change.after, words),
    )


def _name(case: Case, key: str, words: Words) -> str:
    for office in case.config.offices:
        begin = f"offices.{office.id}."
        name = _NAMED.get(key.removeprefix(begin)) if key.startswith(begin) else None
        if name:
            return words(f"dossier.settings.{name}", office=formats.office_name(office, words))
    return words("dossier.settings.other", key=key)


def _value(value: Any, words: Words) -> str:
    if value is None:
        return words("dossier.settings.unset")
    items = value if isinstance(value, list) else [value]
    text = ", ".join(_as_people_read(str(item)) for item in items)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _as_people_read(text: str) -> str:
    """A value of the configuration: rates as papers state them, a space before a unit."""
    if text.endswith("bit/s"):
        return formats.rate(parse_rate(text))
    return _UNIT.sub(r"\1 \2", text)
