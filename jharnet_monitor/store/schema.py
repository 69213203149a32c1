"""Brings a database to this program's schema, and refuses one that is newer than the program."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine

from jharnet_monitor.errors import UserError
from jharnet_monitor.store.engine import StoreError, reading, writing

_HERE = Path(__file__).parent / "migrations"


def newest() -> str | None:
    """The schema's version that this program was written for."""
    return ScriptDirectory.from_config(_alembic()).get_current_head()


def version(engine: Engine) -> str | None:
    """The schema's version in the database; None for an empty one. Raises `StoreError`."""
    with reading(engine) as connection:
        return _version(connection)


def migrate(engine: Engine) -> str | None:
    """Bring the schema to the newest version, and say which it is; raises `UserError`."""
    try:
        with writing(engine) as connection:
            held = _version(connection)
            if held not in _known():
                raise UserError(f"{_place(engine)}: {_newer(held)}")
            command.upgrade(_alembic(connection), "head")
            return _version(connection)
    except StoreError as error:
        raise UserError(f"{_place(engine)}: cannot be used: {error}") from error


def require(engine: Engine) -> None:
    """Raise `UserError` unless the schema is this program's: for those who only read."""
    try:
        held = version(engine)
    except StoreError as error:
        raise UserError(f"{_place(engine)}: cannot be used: {error}") from error
    if held not in _known():
        raise UserError(f"{_place(engine)}: {_newer(held)}")
    if held != newest():
        raise UserError(
            f"{_place(engine)}: has {'no schema yet' if held is None else f'schema {held}'}; run "
            "`jharnet-monitor db migrate` (the hub does so when it starts)"
        )


def _place(engine: Engine) -> str:
    return f"hub.database: {engine.url.set(drivername=engine.dialect.name)}"


def _newer(held: str | None) -> str:
    return (
        f"is of version {held}, which this program does not know; install the newer "
        "jharnet-monitor that made it"
    )


def _known() -> set[str | None]:
    scripts = ScriptDirectory.from_config(_alembic())
    return {None, *(script.revision for script in scripts.walk_revisions())}


def _version(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _alembic(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
