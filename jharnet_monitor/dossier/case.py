"""The data of every document: the claims, the configuration and the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from jharnet_monitor.config import Config, Office
from jharnet_monitor.dossier.claims import Claims, OfficeClaims
from jharnet_monitor.dossier.evidence import DossierEvidence
from jharnet_monitor.dossier.sealed import HOUR, Sealed, needed_links
from jharnet_monitor.dossier.settings_log import SettingsLog
from jharnet_monitor.i18n.words import Words
from jharnet_monitor.judge.calendar.period import Period


@dataclass(frozen=True, slots=True)
class Case:
    """The data of one dossier: sealed up to `until`; `sums` is the hash report."""

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
    def settings(self) -> SettingsLog:
        """The settings as they were sealed."""
        return SettingsLog.of(self.evidence.database_events)

    @property
    def root(self) -> str:
        """The chain's root after the last record on which a figure rests."""
        return self._last_needed.root

    @property
    def root_until(self) -> datetime:
        """The end of the last hour that `root` covers. It is after the period's end, since records
        of the period may be delivered late.
        """
        return self._last_needed.begin + HOUR

    @property
    def _last_needed(self) -> Sealed:
        begins = [one.begin for one in self.chain]
        return self.chain[needed_links(begins, self.period.start, self.period.end)[-1]]

    def district(self, words: Words) -> str:
        """The district's name in the language of `words`."""
        district = self.config.district
        return district.name_in(words.language)

    def of(self, office: Office) -> OfficeClaims:
        """The claims about an office."""
        return self.claims.offices[office.id]
