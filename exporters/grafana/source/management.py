"""The dashboard of whoever answers for the offices: promises, the worst offices, the trend."""

from __future__ import annotations

from layout import dashboard, variable
from offices import TO_OFFICE
from parts import (
    GRADE,
    Json,
    alerts,
    coloured,
    lines,
    mean_if_known,
    number,
    override,
    query,
    table,
)

DISTRICTS = variable("district", "Districts", "jharnet_build_info, district", many=True)
M = 'district=~"$district"'
LINE_UP = f"jharnet:office_line_up:ratio15m{{{M}}}"
UP = mean_if_known(LINE_UP, step=900)
TARGET = f"max by (district, office) (jharnet_office_availability_target_ratio{{{M}}})"
MONTH = "[30d]"
UP_BY_MONTH = mean_if_known(LINE_UP, over="30d", seconds="2592000", step=900)


def management() -> Json:
    """Whether what was promised is kept."""
    missed = f"{UP} < on (district, office) {TARGET}"
    return dashboard(
        "management", "JharNet: for the manager",
        "Availability at all hours, the offices in most trouble, and the trend by month. Nights "
        "and cuts of power count here; the weekly report and the dossier hold the contract against "
        "the line alone, and have the evidence.",
        [DISTRICTS],
        [
            number("Availability", "Mean of the offices of which a tenth of the time range or more "
                   "is known.", f"avg({UP})",
                   unit="percentunit", decimals=2),
            number("As promised", "Offices that answered for as much of the time as the contract "
                   "of their line promises, of those of which a tenth of the time range or more "
                   "is known.",
                   f"count({UP} >= on (district, office) {TARGET}) or 0 * count({UP})"),
            number("Less than promised", "Offices that did not, be it for want of power.",
                   f"count({missed}) or 0 * count({UP})"),
            number("Ready to confer", "Share of offices whose last call reached SD (360p).",
                   f'sum(jharnet_conference_ready{{{M}, profile="360p"}}) '
                   f"/ count(jharnet_office_info{{{M}}})", unit="percentunit", decimals=0),
            number("As contracted", "Share of lines that deliver what is contracted, towards the "
                   "office.",
                   f'count(jharnet:bandwidth_delivered:judged{{{M}, direction="down"}} >= '
                   "on (district) group_left () max by (district) "
                   f"(jharnet_delivered_threshold_ratio{{{M}}})) "
                   f'/ count(jharnet:bandwidth_delivered:judged{{{M}, direction="down"}}) '
                   f'or 0 * count(jharnet:bandwidth_delivered:judged{{{M}, direction="down"}})',
                   unit="percentunit", decimals=0),
            number("Outages", "That ended within the time range, of all offices.",
                   f"round(sum(increase(jharnet_office_outages_total{{{M}}}[$__range])))"),
            table("The worst offices", "By availability over the time range, the worst first; "
                  "without those of which less than a tenth of it is known.",
                  {"Availability": f"bottomk(15, {UP})",
                   "Promised": TARGET,
                   "Outages": "round(max by (district, office) "
                              f"(increase(jharnet_office_outages_total{{{M}}}[$__range])))",
                   "Grade": f"max by (district, office) (jharnet_conference_grade{{{M}}})",
                   "Delivered": "min by (district, office) "
                                f"(jharnet:bandwidth_delivered:ratio{{{M}}})"},
                  {"district": "District", "office": "office"}, size=(24, 11),
                  overrides=[override("office", displayName="Office", links=[TO_OFFICE]),
                             override("Availability", unit="percentunit", decimals=3),
                             override("Promised", unit="percentunit", decimals=1),
                             override("Delivered", unit="percentunit", decimals=0),
                             coloured("Grade", "short", GRADE)]),
            lines("Availability by month", "The mean of the 30 days before each moment, of the "
                  "offices of which three days of them or more are known.",
                  [query(f"avg by (district) ({UP_BY_MONTH})", "{{district}}"),
                   query(f"avg({TARGET})", "limit: promised on average")],
                  unit="percentunit", max=1),
            lines("Ready for SD by month", "Offices, the mean of the 30 days before each moment.",
                  [query("max by (district) (avg_over_time(jharnet:offices_conference_ready:avg15m"
                         f'{{{M}, profile="360p"}}{MONTH}))', "{{district}}")], min=0),
            alerts(M, size=(24, 8)),
        ],
        span="now-30d",
        status_page="",
    )  # fmt: skip
