"""The method statement, and the certificate form for signature."""

from __future__ import annotations

import hashlib
from typing import Any

from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.setting_changes import setting_changes, settings_since
from jharnet_monitor.i18n import formats
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.model import parse_utc
from jharnet_monitor.report.sections.phrases import made_up_texts, need_text, thresholds_text

BLANK = "____________________"
SHA256 = 1
"""The place of our algorithm among those of the form."""
_LINES = (
    "person", "other", "make", "identity", "relevant", "lawful", "by_me", "hash", "report", "date",
    "time", "place",
)  # fmt: skip
_MAILED = ("name", "moment", "recipient", "root")


def method(case: Case, words: Words) -> dict[str, Any]:
    """How the figures are made, the chain's values, and how to check them, as plain JSON."""
    phrase = {
        name: words(f"dossier.method.{name}")
        for name in ("method", "statistics", "assumptions", "integrity", "mailed", "check")
    }
    return head(case, words, "method") | {
        "said": phrase,
        "method": [
            words("dossier.method.delivered"),
            words("dossier.method.retests"),
            words("dossier.method.other"),
            words("dossier.method.judgement"),
            *(
                words(f"report.method_text.{part}")
                for part in ("conference", "availability", "latency", "unknown")
            ),
        ],
        "statistics": words("dossier.method.statistics_text"),
        "assumptions": [
            need_text(case.config, case.claims.assessments, words),
            thresholds_text(case.config.thresholds, words),
        ],
        "integrity": [
            words(
                "dossier.method.integrity_text",
                n=len(case.chain),
                until=formats.moment(case.until, case.zone, words),
                root=case.chain[-1].root,
            ),
            words("dossier.method.limits"),
            settings_since(case, words),
            *setting_changes(case, words),
        ],
        "mailed": {
            "none": words("dossier.method.mailed_none"),
            "head": [words(f"dossier.method.mailed_head.{name}") for name in _MAILED],
            "rows": [
                [
                    mail["name"],
                    formats.moment(parse_utc(mail["accepted_at"]), case.zone, words),
                    mail["recipient"],
                    mail["root"],
                ]
                for mail in case.mails
            ],
        },
        "command": "jharnet-monitor dossier verify FILE.zip --root ROOT",
        "check": words("dossier.method.check_text"),
    }


def certificate(case: Case, words: Words) -> dict[str, Any]:
    """The certificate's form, as the Schedule to the Bharatiya Sakshya Adhiniyam, 2023, section
    63(4)(c), prescribes it, with the hash value filled in, as plain JSON.
    """
    until = formats.moment(case.root_until, case.zone, words)
    note = words("dossier.certificate.note", root=case.root, until=until)
    return head(case, words, "certificate") | {
        "parts": [_part(case, words, part) for part in ("a", "b")],
        "algorithm": words("dossier.certificate.algorithms", blank=BLANK).split("|")[SHA256],
        "note": note,
    }


def _part(case: Case, words: Words, part: str) -> dict[str, Any]:
    """Part A, of the party, or part B, of the expert, who does not speak of lawful control."""

    def phrase(name: str) -> str:
        return words(f"dossier.certificate.{name}", blank=BLANK, hash=_sums_hash(case))

    statement: dict[str, Any] = {
        "title": phrase(f"part_{part}"),
        "source": phrase(f"source_{part}"),
        "sign": phrase(f"sign_{part}"),
        **{name: phrase(name) for name in _LINES},
        **{name: phrase(name).split("|") for name in ("devices", "held", "algorithms")},
    }
    return statement if part == "a" else statement | {"lawful": None}


def _sums_hash(case: Case) -> str:
    """The hash value of the hash report itself."""
    return hashlib.sha256(case.sums.encode()).hexdigest()


def head(case: Case, words: Words, paper: str) -> dict[str, Any]:
    """What every paper begins with: titles, district, period, when it was made."""
    return {
        "language": words.language,
        "title": words(f"dossier.{paper}.title"),
        "subtitle": words(f"dossier.{paper}.subtitle"),
        "author": "jharnet-monitor",
        "district": words("report.district", name=case.district(words)),
        "period": formats.period_name(case.period, words),
        "days": None,
        "made": words("report.made", moment=formats.moment(case.made_at, case.zone, words)),
        "running": None,
        "page": words.phrases["dossier.page"],
        "made_up": made_up_texts(words) if case.evidence.made_up else None,
    }
