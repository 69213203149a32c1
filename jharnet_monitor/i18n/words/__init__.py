"""The words that people read, one YAML file per language.

Reports, dossier, web pages and mails look them up by key:

>>> words("en")("grade.1"), words("hi")("grade.1")
('audio only', 'केवल ऑडियो')
>>> words("en")("report.tests", n=1), words("en")("report.tests", n=1234)
('1 test', '1,234 tests')
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

from jharnet_monitor.i18n.cldr import grouped, plural

LANGUAGES = ("hi", "en")


class Words:
    """The words of one language, by dotted key.

    A phrase with plural forms (`one` and `other`) below it is chosen by the number `n`. Integers
    are written with grouped digits, so pass a year as text.
    """

    def __init__(self, language: str, tree: Mapping[str, Any]) -> None:
        self.language = language
        self.phrases: Mapping[str, str] = MappingProxyType(dict(_leaves(tree)))

    def __call__(self, key: str, /, **values: Any) -> str:
        """The phrase with its parameters filled in; raises `KeyError` if there is none."""
        if "n" in values and key not in self.phrases:
            key = f"{key}.{plural(self.language, values['n'])}"
        try:
            phrase = self.phrases[key]
        except KeyError:
            raise KeyError(f"no words for `{key}` in language `{self.language}`") from None
        return phrase.format_map({k: _written(v) for k, v in values.items()}) if values else phrase

    def __contains__(self, key: str) -> bool:
        return key in self.phrases

    def get(self, key: str, fallback: str) -> str:
        """The phrase, or `fallback` for a name that only a newer agent or probe knows."""
        return self.phrases.get(key, fallback)

    def group(self, prefix: str) -> dict[str, str]:
        """All phrases below a key, by the rest of their keys: `group("state")["up"]`."""
        start = f"{prefix}."
        return {k.removeprefix(start): v for k, v in self.phrases.items() if k.startswith(start)}


def _written(value: Any) -> Any:
    return grouped(str(value)) if isinstance(value, int) else value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping):
            found += _leaves(value, f"{key}.")
        elif isinstance(value, str):
            found.append((key, value))
        else:
            raise TypeError(f"{key} must be a text; quote it: {value!r}")
    return found


@cache
def words(language: str) -> Words:
    """The words of `hi` or `en`; raises `ValueError` for another language."""
    if language not in LANGUAGES:
        raise ValueError(f"no words in `{language}`; there are {', '.join(LANGUAGES)}")
    text = files(__name__).joinpath(f"{language}.yaml").read_text(encoding="utf-8")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is 10 times as fast
    return Words(language, yaml.load(text, Loader=loader))  # noqa: S506 (both are safe loaders)
