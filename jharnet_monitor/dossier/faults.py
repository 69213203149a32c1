"""The fault ledger in a dossier, each fault with the measured outage: as CSV and as a paper."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from jharnet_monitor.dossier.archive import csv_bytes
from jharnet_monitor.dossier.case import Case
from jharnet_monitor.dossier.derive import judged_states, measured_states
from jharnet_monitor.dossier.statements import head
from jharnet_monitor.i18n.formats import iso_moment
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.faults import JudgedFault, Unbooked, ledger
from jharnet_monitor.report.data.faults import as_of, within
from jharnet_monitor.report.sections.faults import fault_table, sentences

_HEAD = (
    "fault", "office", "docket", "reported_at", "reported_by", "reported_to", "restored_at",
    "stopped", "seconds_to_restore", "limit_seconds", "within", "outage_state", "outage_begin",
    "outage_end", "entries",
)  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A spreadsheet computes a cell that begins like this."""


def judged(case: Case) -> tuple[Sequence[JudgedFault], Sequence[Unbooked]]:
    """The faults of the period with the outages, and those that are booked nowhere; raises
    `ValueError` for an entry that cannot be read.
    """
    faults = as_of(ledger(case.evidence.fault_entries), case.until)
    # an outage may have begun before the period, and been booked then
    measured = measured_states(case.evidence, case.until)
    states = judged_states(case.evidence, case.until)
    return within(case.config, faults, measured, states, (case.period.start, case.until))


def fault_csv(case: Case) -> bytes:
    """A row a fault; an outage booked nowhere has no fault."""
    found, missing = judged(case)
    rows = [_row(case, one) for one in found]
    for one in missing:
        outage = [one.outage.state.value, _at(case, one.outage.start), _at(case, one.outage.end)]
        rows.append(["", one.office, *[""] * 9, *outage, ""])
    return csv_bytes(_HEAD, rows, made_up=case.evidence.made_up)


def _row(case: Case, one: JudgedFault) -> list[str]:
    fault, outage = one.fault, one.outage
    stopped = "; ".join(
        f"{stop.reason} {_at(case, stop.begin)} {_at(case, stop.end)}" for stop in fault.stops
    )
    return [
        fault.id, fault.office, _text(fault.docket), _at(case, fault.reported_at),
        _text(fault.reported_by), _text(fault.reported_to), _at(case, fault.restored_at),
        stopped, f"{one.seconds:.0f}", f"{one.limit:.0f}", "yes" if one.within else "no",
        *(
            ["", "", ""]
            if outage is None
            else [outage.state.value, _at(case, outage.start), _at(case, one.over_at)]
        ),
        str(fault.entries),
    ]  # fmt: skip


def _text(entered: str) -> str:
    """What a person entered, so that no spreadsheet takes it for a formula."""
    return f"'{entered}" if entered.startswith(_FORMULA) else entered


def _at(case: Case, at: datetime | None) -> str:
    return "" if at is None else iso_moment(at, case.zone)


def fault_paper(case: Case, words: Words) -> dict[str, Any]:
    """The ledger as a paper, as plain JSON."""
    found, missing = judged(case)
    return head(case, words, "faults") | {
        "table": fault_table(case.config, (found, missing), case.zone, words),
        "told": sentences(found, words) if found else [words("dossier.faults.none")],
        **{name: words(f"dossier.faults.{name}") for name in ("note",)},
    }
