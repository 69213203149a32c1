"""The settings of agents' updates over JharNet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from jharnet_monitor.config.fields import FilePath, Identifier, at_least
from jharnet_monitor.config.section import Section
from jharnet_monitor.config.units import Duration, Ratio, Size


class UpdateSettings(Section):
    """New versions for the agents, which `jharnet-monitor update` publishes and offers."""

    directory: Annotated[FilePath, Field(validate_default=True)] = Path("updates")
    """Directory of the published releases."""
    first: tuple[Identifier, ...] = ()
    """Offices that get a version before all others; by default the first one with an agent.
    Those that cannot get it are skipped; if none can, the next office with an agent is first."""
    soak: Annotated[Duration, AfterValidator(at_least(1, "1s"))] = 86400.0
    """How long it must run there before the others get it. After that, each of the
    first must have been connected with it once more."""
    hours: Literal["off-hours", "always"] = "off-hours"
    """When agents may fetch: outside office hours, or at any time; never during a conference."""
    share: Annotated[Ratio, Field(gt=0)] = 0.5
    """Share of an office's contracted rate that an update may take."""
    budget: Annotated[Size, Field(ge=100_000)] = 50_000_000
    """Bytes a day and office that updates may take of `budget`. What is missing follows on the next
    day."""
    trial: Annotated[Duration, AfterValidator(at_least(20, "20s")), Field(le=3600)] = 600.0
    """An agent goes back to its old version when the new one does not get through to the hub within
    this time, or crashes three times."""
