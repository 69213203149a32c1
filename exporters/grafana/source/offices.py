"""The dashboards of a district, of one office, and of the state."""

from __future__ import annotations

from layout import DISTRICT, HUB, OFFICE, dashboard, events, row, variable
from parts import (
    GRADE,
    STATES,
    YES_NO,
    Json,
    alerts,
    coloured,
    lines,
    link,
    mean_if_known,
    number,
    of_state,
    override,
    panel,
    query,
    table,
    timeline,
)

D = 'district="$district"'
O = 'district="$district", office="$office"'  # noqa: E741 - short, as it stands in every query
TO_OFFICE = link(
    "The office's dashboard",
    "/d/jharnet-office?var-datasource=${datasource}&var-district=${district}"
    "&var-office=${__data.fields.office}&${__url_time_range}",
)


def _availability(selector: str) -> str:
    """up / (up + down); what is unknown, planned or headquarters' own fault is in neither."""
    return mean_if_known(f"jharnet:office_line_up:bool{{{selector}}}", step=60, sampled=True)


def _map() -> Json:
    place = "group_left (name, latitude, longitude) jharnet_office_info"
    where = f'{of_state(D)} * on (district, office) {place}{{{D}, latitude!=""}}'
    numbers = [
        {"targetField": axis, "destinationType": "number"} for axis in ("latitude", "longitude")
    ]
    marker = {
        "color": {"field": "Value", "fixed": "gray"},
        "size": {"fixed": 8, "min": 4, "max": 12},
        "opacity": 0.8,
        "symbol": {"mode": "fixed", "fixed": "img/icons/marker/circle.svg"},
        "text": {"mode": "field", "field": "name", "fixed": ""},
        "textConfig": {"fontSize": 12, "offsetX": 0, "offsetY": -14,
                       "textAlign": "center", "textBaseline": "middle"},
    }  # fmt: skip
    layer = {
        "type": "markers",
        "name": "Offices",
        "config": {"style": marker, "showLegend": False},
        "location": {"mode": "coords", "latitude": "latitude", "longitude": "longitude"},
        "tooltip": True,
    }
    return panel(
        "geomap", "Map", "Where the offices are, in the colour of their state. Only offices whose "
        "latitude and longitude are configured. It needs no Internet.", [query(where, table=True)],
        size=(9, 12), mappings=STATES, links=[TO_OFFICE],
        transformations=[{"id": "convertFieldType", "options": {"conversions": numbers}}],
        options={
            "view": {"id": "fit", "lat": 22.7, "lon": 86.4, "zoom": 9, "allLayers": True,
                     "padding": 10},
            # Grafana's default loads tiles from the Internet; its own server has none, so the
            # ground stays plain.
            "basemap": {"type": "xyz", "name": "Ground",
                        "config": {"url": "/public/maps/none/{z}/{x}/{y}.png",
                                   "attribution": ""}},
            "layers": [layer],
            "controls": {"showZoom": True, "mouseWheelZoom": False, "showAttribution": True},
            "tooltip": {"mode": "details"},
        },
    )  # fmt: skip


def _offices_table() -> Json:
    rate = f'max by (office) (jharnet_bandwidth_bytes_per_second{{{D}, path="jharnet", %s}}) * 8'
    return table(
        "Offices", "Every office as it is now. An empty cell is not known; it is not 0.",
        {
            "State": f"max by (office) ({of_state(D)})",
            "Grade": f"max by (office) (jharnet_conference_grade{{{D}}})",
            "Round trip": f"max by (office) (jharnet_latency_rtt_p50_seconds{{{D}}})",
            "Loss, 15 min": f"max by (office) (jharnet:latency_loss:ratio15m{{{D}}})",
            "Download": rate % 'direction="down"',
            "Upload": rate % 'direction="up"',
            "Contract": "max by (office) (jharnet_bandwidth_contracted_bytes_per_second"
                        f'{{{D}, direction="down"}}) * 8',
            "Agent": f"max by (office) (jharnet_agent_connected{{{D}}})",
        },
        {"office": "office"},
        size=(15, 12),
        overrides=[
            override("office", displayName="Office", links=[TO_OFFICE]),
            coloured("State", "short", STATES),
            coloured("Grade", "short", GRADE),
            coloured("Agent", "short", YES_NO),
            override("Round trip", unit="s"),
            override("Loss, 15 min", unit="percentunit", decimals=1),
            *(override(name, unit="bps") for name in ("Download", "Upload", "Contract")),
        ],
    )  # fmt: skip


def district() -> Json:
    """The dashboard of a district."""
    return dashboard(
        "district", "JharNet: district",
        "Which offices are reachable, how good their lines are, and which can join a conference.",
        [DISTRICT, HUB],
        [
            number("Offices up", "Offices in the state `up`.",
                   f'sum(jharnet_office_state{{{D}, state="up"}})'),
            number("Offices", "All that are configured.", f"count(jharnet_office_info{{{D}}})"),
            number("Ready to confer", "Offices whose last conference test reached the target.",
                   f"count(jharnet_conference_grade{{{D}}} >= on (district) group_left () "
                   f"jharnet_grade_threshold{{{D}}}) or 0 * sum(jharnet_agents_connected{{{D}}})"),
            number("Agents", "Agents connected now.", f"sum(jharnet_agents_connected{{{D}}})"),
            number("Uplink answers", "Headquarters' own line.", f"min(jharnet_uplink_up{{{D}}})",
                   mappings=YES_NO),
            number("Office hours", "Alerts about offices come inside of them.",
                   f"max(jharnet_offices_open{{{D}}})", mappings=YES_NO),
            alerts(D, size=(24, 7)),
            timeline("States", "What was known of each office at each moment.",
                     of_state(D), "{{office}}", mappings=STATES, links=[TO_OFFICE]),
            _offices_table(),
            _map(),
            row("Lines"),
            lines("Packet loss over 15 minutes", "Share of echo requests without an answer.",
                  [query(f"jharnet:latency_loss:ratio15m{{{D}}}", "{{office}}"),
                   query(f"max(jharnet_loss_threshold_ratio{{{D}}})", "limit")],
                  unit="percentunit", min=0),
            lines("Round-trip time, median", "Of every measurement's echo requests.",
                  [query(f"jharnet_latency_rtt_p50_seconds{{{D}}}", "{{office}}"),
                   query(f"max(jharnet_rtt_threshold_seconds{{{D}}})", "limit")],
                  unit="s", min=0),
            table("Availability over the time range",
                  "Time in which the line worked, over the time of which it is known; without "
                  "planned windows and headquarters' own faults. The cause of each outage, and "
                  "what is owed by contract, stand in the weekly report. Without offices of which "
                  "less than a tenth of the time range is known.",
                  {"Availability": f"sum by (office) ({_availability(D)})"}, {"office": "office"},
                  size=(12, 9), unit="percentunit", decimals=3,
                  overrides=[override("office", displayName="Office", links=[TO_OFFICE])]),
            table("The last outage of each office", "Its cause as it was found afterwards.",
                  {"Ended": "1000 * max by (office, cause) "
                            f"(jharnet_office_last_outage_end_timestamp_seconds{{{D}}})",
                   "Lasted": "max by (office, cause) "
                             f"(jharnet_office_last_outage_duration_seconds{{{D}}})"},
                  {"office": "office", "cause": "Cause"}, size=(12, 9),
                  overrides=[override("office", displayName="Office", links=[TO_OFFICE]),
                             override("Ended", unit="dateTimeFromNow"),
                             override("Lasted", unit="s")]),
            *_uplink(),
            *_services(D),
        ],
        annotations=events(D),
    )  # fmt: skip


def _uplink() -> list[Json]:
    return [
        row("Headquarters' uplink"),
        lines("Uplink: traffic", "All traffic on the gateway's interface, by SNMP "
              "(`hub.uplink.snmp`); down is towards headquarters.",
              [query(f"max by (direction) (jharnet_uplink_utilisation_bytes_per_second{{{D}}}) * 8",
                     "{{direction}}"),
               query(f"max(jharnet_uplink_contracted_bytes_per_second{{{D}}}) * 8", "contracted")],
              unit="bps", min=0),
        lines("Uplink: share in use", "Of the contracted rate.",
              [query(f"max by (direction) (jharnet_uplink_utilisation_ratio{{{D}}})",
                     "{{direction}}")], unit="percentunit", min=0),
        lines("Uplink: speed to the Internet", "Headquarters' own tests "
              "(`probes.bandwidth.headquarters_every`).",
              [query(f"max by (direction) (jharnet_uplink_internet_bytes_per_second{{{D}}}) * 8",
                     "{{direction}}")], unit="bps", min=0),
        lines("Uplink: round trip while full", "To the Internet, while that test filled the line.",
              [query(f"max by (direction) (jharnet_uplink_internet_loaded_rtt_seconds{{{D}}})",
                     "{{direction}}")], unit="s", min=0),
        number("Uplink test", "Whether headquarters' newest Internet test succeeded.",
               f"min(jharnet_uplink_internet_success{{{D}}})", mappings=YES_NO, size=(6, 4)),
        number("Uplink tested", "When the newest test began.",
               f"1000 * max(jharnet_uplink_internet_last_run_timestamp_seconds{{{D}}})",
               unit="dateTimeFromNow", size=(6, 4)),
        number("Uplink's test data", "Bytes that headquarters' own tests have used today.",
               f"max(jharnet_uplink_budget_spent_bytes{{{D}}})", unit="decbytes", size=(6, 4)),
        number("Uplink so for", "How long it has answered, or not.",
               f"time() - max(jharnet_uplink_since_timestamp_seconds{{{D}}})", unit="s",
               size=(6, 4)),
    ]  # fmt: skip


def _services(selector: str) -> list[Json]:
    """Web services (`probes.service`); without one configured these panels are empty. "Answer" is
    also empty where no office takes part by browser."""
    one = f"by (service, end) (jharnet_service_%s{{{selector}}})"
    return [
        row("Services"),
        timeline("Services", "Whether visits to each service succeed, from the offices and from "
                 "headquarters.", f"min {one % 'success'}", "{{service}} from {{end}}",
                 size=(12, 8), mappings=YES_NO),
        lines("Visits", "How long a whole visit takes; the median of the offices.",
              [query("quantile by (service, end) (0.5, "
                     f"jharnet_service_total_seconds{{{selector}}})",
                     "{{service}} from {{end}}"),
               query(f"max(jharnet_service_threshold_seconds{{{D}}})", "limit: slow")],
              unit="s", min=0),
        table("Where a visit's time goes", "Of the slowest office, and of headquarters.",
              {"Name": f"max {one % 'dns_seconds'}", "TCP": f"max {one % 'connect_seconds'}",
               "TLS": f"max {one % 'tls_seconds'}",
               "First byte": f"max {one % 'first_byte_seconds'}",
               "Whole": f"max {one % 'total_seconds'}",
               "Answer (browser)": f"max {one % 'answer_seconds'}",
               "Status": f"max {one % 'status_code'}", "Bytes": f"max {one % 'bytes'}",
               "Certificate": f"min {one % 'certificate_expiry_seconds'}"},
              {"service": "Service", "end": "From"}, size=(24, 7), unit="s",
              overrides=[override("Status", unit="none"), override("Bytes", unit="decbytes")]),
    ]  # fmt: skip


def _traffic_of_office() -> list[Json]:
    return [
        row("Traffic"),
        lines("Traffic", "All traffic on the office's router, by SNMP (`snmp:` of the office); "
              "down is towards the office.",
              [query(f"max by (direction) (jharnet_utilisation_bytes_per_second{{{O}}}) * 8",
                     "{{direction}}"),
               query(f"max by (direction) (jharnet:bandwidth_contracted:bytes_per_second{{{O}}})"
                     " * 8", "contracted {{direction}}")], unit="bps", min=0),
        lines("Share of the contract in use", "A line that is full explains loss and delay.",
              [query(f"max by (direction) (jharnet_utilisation_ratio{{{O}}})", "{{direction}}")],
              unit="percentunit", min=0),
        number("Router up for", "Since its last restart; by SNMP.",
               f"max(jharnet_router_uptime_seconds{{{O}}})", unit="s", size=(6, 8)),
        table("Tests", "The newest run of each probe: whether it worked, how long it took, when.",
              {"Worked": f"max by (probe, path) (jharnet_probe_success{{{O}}})",
               "Took": f"max by (probe, path) (jharnet_probe_duration_seconds{{{O}}})",
               "Begun": "1000 * max by (probe, path) "
                        f"(jharnet_probe_last_run_timestamp_seconds{{{O}}})"},
              {"probe": "Probe", "path": "Path"}, size=(18, 8),
              overrides=[coloured("Worked", "short", YES_NO), override("Took", unit="s"),
                         override("Begun", unit="dateTimeFromNow")]),
    ]  # fmt: skip


def _line_of_office() -> list[Json]:
    buckets = f"sum by (le) (increase(jharnet_latency_rtt_seconds_bucket{{{O}}}[$__rate_interval]))"
    return [
        row("Line"),
        lines("Round-trip time", "Median and 95th percentile of each measurement.",
              [query(f"jharnet_latency_rtt_p50_seconds{{{O}}}", "median"),
               query(f"jharnet_latency_rtt_p95_seconds{{{O}}}", "95 % within"),
               query(f"max(jharnet_rtt_threshold_seconds{{{D}}})", "limit of the median")],
              unit="s", min=0),
        lines("Packet loss", "Of each measurement, and over 15 minutes, by which it is judged.",
              [query(f"jharnet_latency_loss_ratio{{{O}}}", "one measurement"),
               query(f"jharnet:latency_loss:ratio15m{{{O}}}", "15 minutes"),
               query(f"max(jharnet_loss_threshold_ratio{{{D}}})", "limit")],
              unit="percentunit", min=0),
        lines("Jitter", "Interarrival jitter (RFC 3550) of round trips. The limit is for one way, "
              "and so are the 15 minutes, which alerts judge.",
              [query(f"jharnet_latency_jitter_seconds{{{O}}}", "one measurement, round trip"),
               query(f"jharnet:latency_jitter_seconds:median15m{{{O}}}", "15 minutes, one way"),
               query(f"max(jharnet_jitter_threshold_seconds{{{D}}})", "limit")],
              unit="s", min=0),
        panel("heatmap", "Round-trip times", "How many echo replies took how long.",
              [query(buckets, "{{le}}") | {"format": "heatmap"}],
              options={"calculate": False, "yAxis": {"unit": "s", "axisPlacement": "left"},
                       "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64,
                                 "exponent": 0.5, "fill": "dark-orange", "reverse": False},
                       "cellGap": 1, "showValue": "never", "legend": {"show": True},
                       "tooltip": {"mode": "single", "yHistogram": True, "showColorScale": False},
                       "exemplars": {"color": "rgba(255,0,255,0.7)"},
                       "filterValues": {"le": 1e-9}, "rowsFrame": {"layout": "auto"}}),
    ]  # fmt: skip


def _rate_of_line(end: str, direction: str) -> str:
    name = f"jharnet_bandwidth_bytes_per_second_{end}"
    return f'{name}{{{O}, path="jharnet", direction="{direction}"}} * 8'


def _speed_of_office() -> list[Json]:
    rate = f'jharnet_bandwidth_bytes_per_second{{{O}, path="%s", direction="%s"}} * 8'
    return [
        row("Speed and conference"),
        *(
            lines(f"Speed, {words}", "IP rate delivered, beside what is contracted.",
                  [query(rate % ("jharnet", direction), "to headquarters"),
                   query(rate % ("internet", direction), "to the Internet"),
                   query("jharnet_bandwidth_capacity_bytes_per_second"
                         f'{{{O}, direction="{direction}"}}*8', "line, by packet trains"),
                   query(_rate_of_line("low", direction), "95 %: from"),
                   query(_rate_of_line("high", direction), "95 %: to"),
                   query("jharnet:bandwidth_contracted:bytes_per_second"
                         f'{{{O}, direction="{direction}"}} * 8', "contracted")],
                  unit="bps", min=0)
            for direction, words in (("down", "towards the office"), ("up", "from the office"))
        ),
        lines("Sustained speed", "What the line carries once a burst is spent, with its 95 % "
              "interval; by the long test.",
              [query(f"jharnet_bandwidth_sustained_bytes_per_second{{{O}}} * 8", "{{direction}}"),
               *(query(f"jharnet_bandwidth_sustained_bytes_per_second_{end}{{{O}}} * 8",
                       f"{{{{direction}}}}, {end}") for end in ("low", "high"))],
              unit="bps", min=0),
        lines("Grades, by simulated calls", "How probable each grade of a call is.",
              [query(f"jharnet_conference_grade_probability{{{O}}}", "{{grade}}")],
              unit="percentunit", min=0, max=1),
        lines("Round trip while the line is full", "Large values are bufferbloat.",
              [query(f'jharnet_bandwidth_loaded_rtt_seconds{{{O}, path="jharnet"}}',
                     "{{direction}}"),
               query(f"jharnet_bandwidth_idle_rtt_seconds{{{O}}}", "idle"),
               query(f"max(jharnet_loaded_rtt_threshold_seconds{{{D}}})", "limit")],
              unit="s", min=0),
        timeline("Conference grade", "What a call could have been, in both directions at once.",
                 f"jharnet_conference_grade{{{O}}}", "grade", size=(12, 8), mappings=GRADE),
        lines("Runs by outcome", "Tests an hour; `no_data` could not measure.",
              [query(f"sum by (probe, outcome) (rate(jharnet_probe_runs_total{{{O}}}"
                     "[$__rate_interval])) * 3600", "{{probe}} {{outcome}}")], min=0),
        lines("Test data today", "Bytes that heavy tests have used, and may use.",
              [query(f"jharnet_budget_spent_bytes{{{O}}}", "used"),
               query(f"max(jharnet_budget_bytes{{{D}}})", "limit")], unit="decbytes", min=0),
    ]  # fmt: skip


def _applications_of_office() -> list[Json]:
    return [
        row("Applications and the way"),
        lines("Pages in time", "Share of visits in the chosen time that brought the whole page in "
              "time, from this office and from headquarters.",
              [query(f"avg_over_time(jharnet_service_in_time{{{O}}}[$__range])", "{{service}}"),
               query('avg_over_time(jharnet_service_in_time{district="$district", '
                     'end="headquarters"}[$__range])', "{{service}} at headquarters")],
              unit="percentunit", min=0, max=1),
        lines("The way to the office", "Hops, and the largest packet that passes in one piece.",
              [query(f"jharnet_path_hops{{{O}}}", "hops"),
               query(f"jharnet_path_mtu_bytes{{{O}}}", "largest packet (bytes)")], min=0),
        table("Faults on the way", "Behind which hop loss begins, large packets vanish, or marks "
              "are cleared; `up` is the way from the office.",
              {"Behind hop": f"jharnet_path_fault_after_hop{{{O}}}"},
              {"fault": "Fault", "direction": "Direction", "hop": "Router", "owner": "Owner"},
              size=(12, 8)),
        lines("Loss and round trip of the trace", "Of the packets that traced the way.",
              [query(f"jharnet_path_loss_ratio{{{O}}}", "loss"),
               query(f"jharnet_path_rtt_p50_seconds{{{O}}}", "round trip (s)")], min=0),
        lines("Damaged and discarded packets", "Of the router's interface to the line, and of the "
              "office's own network.",
              [query(f"jharnet_utilisation_error_ratio{{{O}}}", "damaged, {{direction}}"),
               query(f"jharnet_utilisation_discard_ratio{{{O}}}", "discarded, {{direction}}"),
               query(f"jharnet_utilisation_lan_error_ratio{{{O}}}", "damaged in the LAN")],
              unit="percentunit", min=0),
        timeline("What becomes of marks", "1 where JharNet keeps, clears or favours marked "
                 "packets.", f"jharnet_path_marking{{{O}}}",
                 "{{mark}} {{direction}}: {{verdict}}", size=(24, 6), mappings=YES_NO),
    ]  # fmt: skip


def office() -> Json:
    """The dashboard of one office."""
    return dashboard(
        "office", "JharNet: office", "One office: its line, its speed, its conferences.",
        [DISTRICT, OFFICE, HUB],
        [
            number("State", "As it is now.", of_state(O), mappings=STATES),
            number("In it for", "How long the state has lasted.",
                   f"time() - jharnet_office_state_since_timestamp_seconds{{{O}}}", unit="s"),
            number("Last seen", "When anything there last answered.",
                   f"1000 * jharnet_office_last_seen_timestamp_seconds{{{O}}}",
                   unit="dateTimeFromNow"),
            number("Loss, 15 min", "Red over the configured limit.",
                   f"jharnet:latency_loss:ratio15m{{{O}}}", unit="percentunit",
                   limit=f"max(jharnet_loss_threshold_ratio{{{D}}})"),
            number("Round trip", "Median; red over the configured limit.",
                   f"jharnet_latency_rtt_p50_seconds{{{O}}}", unit="s",
                   limit=f"max(jharnet_rtt_threshold_seconds{{{D}}})"),
            number("Availability", "Over the time range, if a tenth of it or more is known; "
                   "see the district's dashboard.",
                   _availability(O), unit="percentunit", decimals=3),
            timeline("State", "What was known at each moment.", of_state(O), "state",
                     size=(24, 5), mappings=STATES),
            *_line_of_office(),
            *_speed_of_office(),
            *_applications_of_office(),
            *_traffic_of_office(),
            *_services(O),
        ],
        annotations=events(O),
        status_page="https://${hub}/office/${office}",
    )  # fmt: skip


def state() -> Json:
    """The dashboard of all districts in this Prometheus or in the long-term store."""
    many = variable("district", "Districts", "jharnet_build_info, district", many=True)
    d = 'district=~"$district"'
    to_district = link(
        "The district's dashboard",
        "/d/jharnet-district?var-datasource=${datasource}"
        "&var-district=${__data.fields.district}&${__url_time_range}",
    )
    return dashboard(
        "state", "JharNet: state", "All districts side by side; needs their label `district`.",
        [many],
        [
            number("Districts", "Whose hub is known.",
                   f"count(count by (district) (jharnet_build_info{{{d}}}))"),
            number("Offices", "In all of them.", f"count(jharnet_office_info{{{d}}})"),
            number("Offices up", "In the state `up`.",
                   f'sum(jharnet:offices:count_by_state{{{d}, state="up"}})'),
            number("HD ready", "Offices that could hold a 720p conference when last tested.",
                   f'sum(jharnet:offices_conference_ready:count{{{d}, profile="720p"}})'),
            number("Uplinks down", "Districts that are cut off as a whole.",
                   f"count(jharnet_uplink_up{{{d}}} == 0) or 0 * sum(jharnet_uplink_up{{{d}}})"),
            number("Hubs down", "Hubs that do not answer.",
                   f'count(up{{{d}, job="jharnet-monitor"}} == 0) '
                   f'or 0 * count(up{{{d}, job="jharnet-monitor"}})'),
            table("Districts", "Offices by state and readiness, as it is now.",
                  {"Offices": f"count by (district) (jharnet_office_info{{{d}}})",
                   **{words: f'sum by (district) (jharnet:offices:count_by_state{{{d}, '
                             f'state="{name}"}})'
                      for name, words in (("up", "Up"), ("unreachable", "Unreachable"),
                                          ("lan_down", "LAN down"), ("agent_off", "Agent off"))},
                   "SD ready": "sum by (district) (jharnet:offices_conference_ready:count"
                               f'{{{d}, profile="360p"}})',
                   "HD ready": "sum by (district) (jharnet:offices_conference_ready:count"
                               f'{{{d}, profile="720p"}})',
                   "Delivered": "avg by (district) (jharnet:bandwidth_delivered:ratio"
                                f'{{{d}, direction="down"}})'},
                  {"district": "district"},
                  overrides=[override("district", displayName="District", links=[to_district]),
                             override("Delivered", unit="percentunit", decimals=0)]),
            lines("Share of offices up", "By district.",
                  [query(f'sum by (district) (jharnet:offices:count_by_state{{{d}, state="up"}}) '
                         f"/ sum by (district) (jharnet:offices:count_by_state{{{d}}})",
                         "{{district}}")], unit="percentunit", min=0, max=1),
            lines("Delivered over contracted, towards the offices", "Mean of a district's offices.",
                  [query("avg by (district) (jharnet:bandwidth_delivered:ratio"
                         f'{{{d}, direction="down"}})', "{{district}}")],
                  unit="percentunit", min=0),
        ],
        span="now-7d",
        status_page="",
    )  # fmt: skip
