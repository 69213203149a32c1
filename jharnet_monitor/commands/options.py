"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("config/jharnet.yaml")

ConfigFile = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="JHARNET_CONFIG", help="The hub's YAML file."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

LogLevel = Annotated[str, typer.Option("--log-level", help="debug, info, warning or error.")]
