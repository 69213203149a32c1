"""Digit grouping and plural rules of Hindi and English, from the Unicode CLDR through Babel.

Nothing else is taken from the CLDR. Its spelling of months, units and lists changes between
releases (Sep became Sept), and a dossier is verified by comparing texts, years after it was made:
those words are in `i18n.words`. The import takes 0.8 MB in the hub; the two locales take 5.5 MB
and 35 ms when they are first needed.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache

from babel import Locale
from babel.numbers import format_decimal

_COUNTRY = "IN"
_DIGITS = "latn"
"""0 to 9 in every language."""
MOST_DIGITS = 400
"""Every float has fewer."""


def grouped(number: str) -> str:
    """A decimal number with its digits grouped as India groups them.

    >>> grouped("12345678"), grouped("479820.50"), grouped("999.5")
    ('1,23,45,678', '4,79,820.50', '999.5')
    """
    whole, _, decimals = number.partition(".")
    if len(whole) <= 3:  # nothing to group, as in most figures; Babel would take 12 µs
        return number
    pattern = f"#,##,##0.{'0' * len(decimals)}" if decimals else "#,##,##0"
    with localcontext(prec=MOST_DIGITS):
        return format_decimal(Decimal(number), pattern, _locale("en"), numbering_system=_DIGITS)


def plural(language: str, count: int) -> str:
    """The plural category of a count, `one` or `other`; in Hindi 0 is `one`.

    >>> [plural("en", count) for count in (0, 1, 2, 11)]
    ['other', 'one', 'other', 'other']
    >>> [plural("hi", count) for count in (0, 1, 2, 11)]
    ['one', 'one', 'other', 'other']
    """
    return _locale(language).plural_form(count)


@cache
def _locale(language: str) -> Locale:
    return Locale(language, _COUNTRY)
