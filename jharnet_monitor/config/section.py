"""The base class of every section of a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section of a configuration file: refuses unknown keys, cannot be changed once read."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
