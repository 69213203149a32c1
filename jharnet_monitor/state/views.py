"""The views of the state's database, for Grafana and other readers (PostgreSQL only)."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256

from sqlalchemy import Connection, text

from jharnet_monitor.judge.outages.availability import LEAST_KNOWN

VIEWS: Mapping[str, str] = {
    "state_newest_weeks": """
    SELECT DISTINCT ON (district, week) district, week,
           to_date(week, 'IYYY"-W"IW') AS begins, to_timestamp(made_at / 1000.0) AS made_at,
           sha256, body::jsonb AS body
    FROM state_weeks ORDER BY district, week, made_at DESC
    """,
    "state_office_weeks": f"""
    SELECT w.district, w.week, w.begins, w.made_at, o.id, o.name, o.name_hi, o.subdivision,
           o."group", o.grade, o.calls,
           CASE WHEN o.coverage >= {LEAST_KNOWN} THEN o.availability END AS availability,
           o.coverage, o.promised, o.kept, o.outages, o.down_seconds, o.contracted, o.delivered,
           o.tests, o.rtt_seconds, o.loss, o.verdict, o.slab
    FROM state_newest_weeks w CROSS JOIN LATERAL jsonb_to_recordset(w.body -> 'offices') AS o(
        id text, name text, name_hi text, subdivision text, "group" text, grade int, calls int,
        availability float, coverage float, promised float, kept boolean, outages int,
        down_seconds float, contracted float, delivered float, tests int, rtt_seconds float,
        loss float, verdict text, slab float)
    """,  # noqa: S608 - our own number
}
"""Each view by its name, in an order in which they can be created."""

_READERS = text("""
    SELECT c.relname, CASE acl.grantee WHEN 0 THEN 'PUBLIC'
                      ELSE quote_ident(pg_get_userbyid(acl.grantee)) END
    FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) acl
    WHERE c.oid = to_regclass(:view) AND acl.privilege_type = 'SELECT'
      AND acl.grantee <> c.relowner
""")
_COMMENT = text("SELECT obj_description(to_regclass(:view), 'pg_class')")


def make_views(connection: Connection, views: Mapping[str, str] = VIEWS) -> None:
    """Create the views, or replace those of another version, within the caller's transaction.

    A comment on each view names its version. Views of this version are left alone, so that the
    account of the receiver need not own them. PostgreSQL replaces no view whose columns change, so
    an older one is dropped first; who was allowed to read it still is. Raises `DBAPIError`: if the
    views belong to another account, or another view is built on them.
    """
    version = f"jharnet-monitor {sha256(repr(dict(views)).encode()).hexdigest()[:16]}"
    if all(connection.scalar(_COMMENT, {"view": name}) == version for name in views):
        return
    readers = [pair for name in views for pair in connection.execute(_READERS, {"view": name})]
    for name in reversed(list(views)):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
    for name, query in views.items():
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {query}")
        connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS '{version}'")
    for name, reader in readers:
        connection.exec_driver_sql(f"GRANT SELECT ON {name} TO {reader}")
