"""The state's dashboard: what the districts' hubs have signed, week by week, from PostgreSQL, and
which of them are heard now, from the store.
"""

# ruff: noqa: S608 - the queries of a dashboard; nothing in them comes from outside

from __future__ import annotations

from layout import dashboard
from parts import Json, override, panel, query

DATABASE: Json = {"type": "grafana-postgresql-datasource", "uid": "jharnet-state"}
WEEK: Json = {
    "type": "query", "name": "week", "label": "Week", "datasource": DATABASE,
    "query": "SELECT DISTINCT week FROM state_newest_weeks ORDER BY 1 DESC",
    "refresh": 2, "sort": 0, "multi": False, "includeAll": False, "options": [], "hide": 0,
}  # fmt: skip
THIS = "week = '$week'"
PART = override("Able|Promise kept", pattern=True, unit="percentunit", decimals=0)
RATES = override("Slab|Delivered|Contracted", pattern=True, unit="bps")
SHARES = override("Availability", unit="percentunit", decimals=2)


def _asked(sql: str, *, over_time: bool = False) -> Json:
    return {
        "datasource": DATABASE,
        "rawQuery": True,
        "editorMode": "code",
        "rawSql": " ".join(sql.split()),
        "format": "time_series" if over_time else "table",
    }


def _rows(title: str, about: str, sql: str, *, size: tuple[int, int], **more: object) -> Json:
    made = panel(
        "table", title, about, [_asked(sql)], size=size,
        options={"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
        custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
        overrides=[PART, RATES, SHARES], **more,
    )  # fmt: skip
    return made | {"datasource": DATABASE}


def _figure(title: str, about: str, sql: str) -> Json:
    made = panel(
        "stat", title, about, [_asked(sql)], size=(4, 4),
        options={"colorMode": "value", "graphMode": "none", "justifyMode": "auto",
                 "orientation": "auto", "textMode": "auto", "wideLayout": True,
                 "showPercentChange": False, "percentChangeColorMode": "standard",
                 "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
        color={"mode": "thresholds"}, noValue="not known",
    )  # fmt: skip
    return made | {"datasource": DATABASE}


def _count(condition: str) -> str:
    return f"SELECT count(*) FROM state_office_weeks WHERE {THIS} AND {condition}"


def weeks() -> Json:
    """The signed weeks: districts ranked, blocks in trouble, promises, upgrades by slab."""
    return dashboard(
        "weeks", "JharNet: the state's weeks",
        "What each hub has judged and signed of a week; the state's report has the same figures.",
        [WEEK],
        [
            _figure("Districts reported", "That have handed the week in.",
                    f"SELECT count(*) FROM state_newest_weeks WHERE {THIS}"),
            _figure("Districts silent", "That are expected and have not.",
                    "SELECT count(*) FROM state_districts d WHERE NOT EXISTS (SELECT FROM "
                    f"state_newest_weeks w WHERE w.district = d.district AND {THIS})"),
            _figure("Offices able", "That held conferences well.", _count("\"group\" = 'able'")),
            _figure("Offices unable", "That could not hold one.", _count("\"group\" = 'unable'")),
            _figure("Promises missed", "Lines that were down for longer than promised.",
                    _count("kept IS FALSE")),
            _figure("Upgrades", "Lines that need more speed than contracted.",
                    _count("verdict = 'upgrade'")),
            _rows("Districts by rank", "A silent one has no figures, and is never left out.", f"""
                SELECT d.name AS "District", count(o.id) AS "Offices",
                       avg((o."group" = 'able')::int) AS "Able",
                       avg(o.availability) AS "Availability",
                       avg(o.kept::int) AS "Promise kept",
                       count(*) FILTER (WHERE o.verdict = 'upgrade') AS "Upgrades",
                       count(*) FILTER (WHERE o.verdict = 'repair') AS "Repairs",
                       max(o.made_at) AS "Signed"
                FROM state_districts d
                LEFT JOIN (SELECT * FROM state_office_weeks WHERE {THIS}) o USING (district)
                GROUP BY d.name ORDER BY 3 DESC NULLS LAST, 4 DESC NULLS LAST
                """, size=(24, 14)),
            _rows("Blocks in trouble", "They cannot confer as they should, or their promise was "
                  "missed; the worst first.", f"""
                SELECT d.name AS "District", o.name AS "Office", o.grade AS "Grade",
                       o.availability AS "Availability", o.delivered AS "Delivered",
                       o.contracted AS "Contracted", o.verdict AS "What would help"
                FROM state_office_weeks o JOIN state_districts d USING (district)
                WHERE {THIS} AND (o."group" IN ('unable', 'partly') OR o.kept IS FALSE)
                ORDER BY o.grade NULLS LAST, o.availability NULLS LAST LIMIT 100
                """, size=(24, 12)),
            _rows("Upgrades by slab", "Lines that keep their contract and need more.", f"""
                SELECT o.slab AS "Slab", count(*) AS "Lines",
                       string_agg(DISTINCT d.name, ', ') AS "Districts"
                FROM state_office_weeks o JOIN state_districts d USING (district)
                WHERE {THIS} AND o.verdict = 'upgrade' GROUP BY 1 ORDER BY 1 NULLS LAST
                """, size=(12, 8)),
            _rows("Promises by district", "Offices by whether their line kept the contract; power "
                  "cuts do not count.", f"""
                SELECT d.name AS "District", count(*) FILTER (WHERE o.kept) AS "Kept",
                       count(*) FILTER (WHERE NOT o.kept) AS "Missed",
                       count(*) FILTER (WHERE o.kept IS NULL) AS "Not known"
                FROM state_office_weeks o JOIN state_districts d USING (district)
                WHERE {THIS} GROUP BY 1 ORDER BY 3 DESC, 1
                """, size=(12, 8)),
            panel(
                "timeseries", "Able offices by week", "Share of each district's offices.",
                [_asked("""
                    SELECT begins::timestamptz AS time, d.name AS metric,
                           avg((o."group" = 'able')::int) AS value
                    FROM state_office_weeks o JOIN state_districts d USING (district)
                    WHERE $__timeFilter(begins::timestamptz) GROUP BY 1, 2 ORDER BY 1
                    """, over_time=True)],
                size=(12, 9), unit="percentunit", min=0, max=1,
                options={"legend": {"displayMode": "list", "placement": "bottom",
                                    "showLegend": True, "calcs": []},
                         "tooltip": {"mode": "multi", "sort": "desc"}},
                custom={"drawStyle": "line", "lineWidth": 1, "fillOpacity": 0,
                        "showPoints": "always", "spanNulls": True},
            ) | {"datasource": DATABASE},
            panel(
                "table", "Heard now", "1 while figures come, 0 for a district that is silent.",
                [query("jharnet:district:reporting", table=True)], size=(12, 9),
                transformations=[{"id": "organize", "options": {
                    "excludeByName": {"Time": True, "__name__": True, "name_hi": True,
                                      "district": True},
                    "indexByName": {}, "renameByName": {"name": "District", "Value": "Heard"}}}],
                options={"showHeader": True, "cellHeight": "sm", "frameIndex": 0},
                custom={"align": "auto", "cellOptions": {"type": "auto"}, "inspect": False},
            ),
        ],
        span="now-90d",
        status_page="",
    )  # fmt: skip
