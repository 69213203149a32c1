"""The district and its calendar: office hours, holidays, busy hour, weekly conferences."""

from __future__ import annotations

from pydantic import Field

from jharnet_monitor.config.fields import (
    HolidayCalendar,
    Identifier,
    Text,
    TimeOfDay,
    TimeZone,
    Weekdays,
    parse_weekdays,
)
from jharnet_monitor.config.section import Section


class OfficeHours(Section):
    """Working hours; breaches of the thresholds count only within them."""

    days: Weekdays = "mon-sat"
    """Such as `mon-sat` or `mon,wed,fri`."""
    from_: TimeOfDay = Field(default="10:00", alias="from")
    """Opening time, in quotes."""
    to: TimeOfDay = "17:30"
    """Closing time, in quotes."""
    busy_hour: TimeOfDay = "12:00"
    """Start of the busiest hour, in quotes. Every line is tested in it, and reports show its
    results separately."""
    holidays: HolidayCalendar | None = "IN-JH"
    """Public holidays of a country or state; null for none."""

    @property
    def weekdays(self) -> frozenset[int]:
        """The working days, 0 for Monday."""
        return parse_weekdays(self.days)


class ConferenceTime(Section):
    """A real conference that is held every week; no test runs during it."""

    days: Weekdays = Field(examples=["tue"])
    """Days such as `tue` or `mon-fri`; public holidays are excluded."""
    from_: TimeOfDay = Field(alias="from", examples=["11:00"])
    """Start, in quotes."""
    to: TimeOfDay = Field(examples=["13:00"])
    """End, in quotes."""

    @property
    def weekdays(self) -> frozenset[int]:
        """The days, 0 for Monday."""
        return parse_weekdays(self.days)


class Contact(Section):
    """Whom block offices call: the network engineer at headquarters."""

    name: Text = Field(examples=["Network Engineer, e-District Cell"])
    """Name or post, in English."""
    name_hi: Text | None = None
    """The same in Hindi; default: `name`."""
    phone: Text | None = None
    """Telephone number, in quotes."""
    email: Text | None = None
    """E-mail address."""

    def name_in(self, language: str) -> str:
        """The name in a language of the pages, `hi` or `en`."""
        return self.name_hi or self.name if language == "hi" else self.name


class District(Section):
    """The district that the hub serves."""

    id: Identifier = Field(examples=["east-singhbhum"])
    """Label of the district's metrics in Prometheus."""
    name: Text = Field(examples=["East Singhbhum"])
    """Name in English."""
    name_hi: Text = Field(examples=["पूर्वी सिंहभूम"])
    """Name in Hindi."""
    timezone: TimeZone = "Asia/Kolkata"
    """Time zone of office hours, days and weeks (IANA time zone database)."""
    office_hours: OfficeHours = OfficeHours()
    conferences: tuple[ConferenceTime, ...] = ()
    """The Deputy Commissioner's own conferences; no heavy test runs during them. During one and in
    the half hour before it, an office's pages say whether the office is ready."""

    contact: Contact | None = None
    """Whom block offices call. Stands on the cards with join links, and below every page."""

    def name_in(self, language: str) -> str:
        """The district's name in a language of the reports, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name
