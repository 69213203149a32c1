"""Migrates a database to this program's schema, and refuses one that is newer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, column, inspect, select, table

from jharnet_monitor.errors import StoreError, Trouble, UserError
from jharnet_monitor.store.engine import place, reading, writing

_HERE = Path(__file__).parent / "migrations"


def newest() -> str:
    """The schema's version that this program was written for."""
    return _revisions()[-1]


def version(engine: Engine) -> str | None:
    """The schema's version in the database; None for an empty one. Raises `StoreError`."""
    with reading(engine) as connection:
        return _version(connection)


def migrate(engine: Engine) -> str | None:
    """Bring the schema to the newest version and return that version.

    Raises `StoreError`, and `UserError` for a schema of a newer program.
    """
    with writing(engine) as connection:
        current = _version(connection)
        if current is not None and current not in _revisions():
            raise UserError(f"{place(engine)}: {_newer(current)}")
        if current != newest():
            _upgrade(connection)
        return _version(connection)


def require(engine: Engine) -> None:
    """Raise `UserError` unless the schema is this program's: for commands that only read.

    A missing file is not created. Raises `StoreError` where there is no database yet, or where it
    cannot be read.
    """
    file = engine.url.database
    if engine.dialect.name == "sqlite" and file and not Path(file).exists():
        raise StoreError(
            f"{file}: there is no database yet; `jharnet-monitor run` makes it and measures",
            Trouble.AWAY,
        )
    current = version(engine)
    if current is not None and current not in _revisions():
        raise UserError(f"{place(engine)}: {_newer(current)}")
    migrate_it = "run `jharnet-monitor db migrate` (the hub does so when it starts)"
    if current is None:
        raise StoreError(f"{place(engine)}: has no schema yet; {migrate_it}", Trouble.AWAY)
    if current != newest():
        raise UserError(f"{place(engine)}: has schema {current}; {migrate_it}")


def _newer(current: str | None) -> str:
    return (
        f"is of version {current}, which this program does not know; install the newer "
        "jharnet-monitor that made it"
    )


def _revisions() -> list[str]:
    """All versions, oldest first: `0001` is in `v0001_first.py`."""
    return sorted(path.name[1:5] for path in (_HERE / "versions").glob("v*.py"))


def _version(connection: Connection) -> str | None:
    """The version that Alembic recorded; read without Alembic, which is slow to import."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    versions = table("alembic_version", column("version_num"))
    found: str | None = connection.execute(select(versions.c.version_num)).scalar_one_or_none()
    return found


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_HERE))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
