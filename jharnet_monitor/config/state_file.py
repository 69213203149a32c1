"""The schema of the state's file, `state.yaml`: its districts and their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from jharnet_monitor.config.fields import DatabaseUrl, FilePath, Identifier, ListenAddress, Text
from jharnet_monitor.config.schema import TlsSetting
from jharnet_monitor.config.section import Section
from jharnet_monitor.security.signing import check_public_line

PublicKey = Annotated[str, AfterValidator(check_public_line)]


class StateDistrict(Section):
    """A district of the state."""

    id: Identifier = Field(examples=["east-singhbhum"])
    """`district.id` of its hub, which is also its label in metrics."""
    name: Text = Field(examples=["East Singhbhum"])
    """Name in English."""
    name_hi: Text = Field(examples=["पूर्वी सिंहभूम"])
    """Name in Hindi."""
    keys: Annotated[tuple[PublicKey, ...], Field(max_length=4)] = ()
    """Public keys of its hub, as `jharnet-monitor state key` prints them; a second one while a key
    is replaced. Without one it is expected, and nothing is taken from it."""

    def name_in(self, language: str) -> str:
        """The district's name in a language, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name


class StateFile(Section):
    """The whole file."""

    name: Text = Field(examples=["Jharkhand"])
    """Name of the state, in English."""
    name_hi: Text = Field(examples=["झारखण्ड"])
    """Name in Hindi."""
    listen: ListenAddress = "0.0.0.0:9898"
    """Address and TCP port on which the hubs hand in their weeks."""
    tls: TlsSetting = Field(examples=["{certificate: tls/hub.pem, key: tls/hub.key}"])
    """Certificate and key for `listen`, or `off` where a proxy in front of it encrypts."""
    database: Annotated[DatabaseUrl, Field(validate_default=True)] = "postgresql:///jharnet_state"
    """Where the signed weeks are kept: `postgresql://USER@HOST/NAME` (password in ~/.pgpass), from
    which Grafana reads, or `sqlite:///FILE`."""
    languages: Annotated[tuple[Literal["hi", "en"], ...], Field(min_length=1)] = ("hi", "en")
    """Languages of the report."""
    directory: Annotated[FilePath, Field(validate_default=True)] = Path("reports")
    """Directory of the reports."""
    districts: Annotated[tuple[StateDistrict, ...], Field(min_length=1, max_length=200)] = Field(
        examples=["[{id: east-singhbhum, ...}]"]
    )
    """Every district that is expected, silent or not."""

    @model_validator(mode="after")
    def _each_once(self) -> StateFile:
        ids = [district.id for district in self.districts]
        keys = [key for district in self.districts for key in district.keys]
        for values, what in ((ids, "district"), (keys, "key")):
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ValueError(f"every {what} stands there once, and `{min(twice)}` does twice")
        return self

    def name_in(self, language: str) -> str:
        """The state's name in a language, `hi` or `en`."""
        return self.name_hi if language == "hi" else self.name

    def keys_of(self, district_id: str) -> tuple[str, ...]:
        """The public keys of a district; none for one that is not expected."""
        return next((d.keys for d in self.districts if d.id == district_id), ())
