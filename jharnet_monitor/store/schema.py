"""Brings a database to this program's schema, and refuses one that is newer than the program."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine

from jharnet_monitor.errors import UserError

_HERE = Path(__file__).parent / "migrations"


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def newest() -> str | None:
    """The schema's version that this program was written for."""
    return ScriptDirectory.from_config(_alembic()).get_current_head()


def version(engine: Engine) -> str | None:
    """The schema's version in the database; None for an empty one."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def migrate(engine: Engine) -> str | None:
    """Bring the schema to the newest version, and say which it is; raises `UserError`."""
    try:
        with engine.begin() as connection:
            command.upgrade(_alembic(connection), "head")
    except CommandError as error:
        raise UserError(
            f"{engine.url.render_as_string()}: the database is of version {version(engine)}, which "
            "this program does not know; install the newer jharnet-monitor that made it"
        ) from error
    return version(engine)
