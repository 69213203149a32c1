"""What every paper is set from: the claims, and what the district states beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config, Office
from jharnet_monitor.dossier.claims import Claims, OfficeClaims
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.sealed import Sealed, needed
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import Period


@dataclass(frozen=True, slots=True)
class Case:
    """One dossier: `until` is how far the period is sealed, `sums` the hash report."""

    config: Config
    period: Period
    until: datetime
    made_at: datetime
    claims: Claims
    evidence: DossierEvidence
    chain: Sequence[Sealed]
    mails: Sequence[Mapping[str, str]]
    sums: str

    @property
    def zone(self) -> ZoneInfo:
        """The district's time zone."""
        return ZoneInfo(self.config.district.timezone)

    @property
    def root(self) -> str:
        """The chain's value after everything that is enclosed."""
        begins = [one.begin for one in self.chain]
        return self.chain[needed(begins, self.period.start, self.period.end)[-1]].root

    def district(self, words: Words) -> str:
        """The district's name."""
        district = self.config.district
        return district.name_in(words.language)

    def of(self, office: Office) -> OfficeClaims:
        """The claims about an office."""
        return self.claims.offices[office.id]
