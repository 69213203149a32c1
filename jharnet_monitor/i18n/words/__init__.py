"""Every word of the product that a person reads, one file a language.

The report, the letter, the status page and the mails all take their words from here, by key:

>>> words("en")("grade.1"), words("hi")("grade.1")
('audio only', 'केवल ऑडियो')
>>> words("en")("count.offices", n=1), words("en")("count.offices", n=3)
('1 block office', '3 block offices')
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

import yaml

LANGUAGES = ("hi", "en")


class Words:
    """The words of one language, by dotted key.

    A phrase with `one` and `other` below it follows the number `n`: `one` where n is 1.
    """

    def __init__(self, language: str, tree: Mapping[str, Any]) -> None:
        self.language = language
        self.phrases: Mapping[str, str] = MappingProxyType(dict(_leaves(tree)))

    def __call__(self, key: str, /, **values: Any) -> str:
        """The phrase with its parameters filled in; raises `KeyError` where there is none."""
        if "n" in values and key not in self.phrases:
            key = f"{key}.{'one' if values['n'] in (1, '1') else 'other'}"
        try:
            phrase = self.phrases[key]
        except KeyError:
            raise KeyError(f"no words for `{key}` in language `{self.language}`") from None
        return phrase.format(**values) if values else phrase

    def __contains__(self, key: str) -> bool:
        return key in self.phrases

    def either(self, key: str, fallback: str) -> str:
        """The phrase, or `fallback` where a newer agent or probe names something unknown."""
        return self.phrases.get(key, fallback)

    def group(self, prefix: str) -> dict[str, str]:
        """All phrases below a key, by the rest of their keys: `group("state")["up"]`."""
        start = f"{prefix}."
        return {k.removeprefix(start): v for k, v in self.phrases.items() if k.startswith(start)}


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
