"""The dashboards of conferences, of the speed case, and of the monitor itself."""

from __future__ import annotations

from layout import DISTRICT, HUB, OFFICES, choice, dashboard, row
from offices import TO_OFFICE, D
from parts import GRADE, YES_NO, Json, coloured, lines, number, override, query, table, timeline

S = 'district="$district", office=~"$office"'


def _by_direction(metric: str, more: str = "") -> list[Json]:
    return [query(f"{metric}{{{S}{more}}}", "{{office}} {{direction}}")]


def conference() -> Json:
    """Which offices can join a video conference, and what holds the others back."""
    return dashboard(
        "conference", "JharNet: conferences and drills",
        "What a video conference with each office would be. Grades: 4 HD, 3 SD, 2 low-quality "
        "video, 1 audio only, 0 none. Not tested is not ready.",
        [DISTRICT, OFFICES, HUB],
        [
            *(
                number(f"Ready for {profile}", f"Offices that could hold {words} when last tested.",
                       f'sum(jharnet_conference_ready{{{S}, profile="{profile}"}})')
                for profile, words in (
                    ("720p", "HD"), ("360p", "SD"), ("180p", "low-quality video"),
                    ("audio", "a call with audio only"),
                )
            ),
            number("Not tested", "Offices without a result of the last day.",
                   f"count(jharnet_office_info{{{S}}} unless on (district, office) "
                   f"jharnet_conference_grade{{{S}}}) or 0 * count(jharnet_office_info{{{S}}})"),
            number("In a call now", "In a drill this is all offices at once.",
                   f'count(jharnet_probe_running{{{S}, probe="conference"}}) '
                   f"or 0 * sum(jharnet_agents_connected{{{D}}})"),
            timeline("Grade", "The newest test's grade at each moment.",
                     f"jharnet_conference_grade{{{S}}}", "{{office}}", mappings=GRADE,
                     links=[TO_OFFICE]),
            table("The last test of each office", "The worse direction, where there are two.",
                  {"Grade": f"max by (office) (jharnet_conference_grade{{{S}}})",
                   "Voice (MOS)": f'min by (office) (jharnet_conference_mos{{{S}, media="audio"}})',
                   "Video lost": "max by (office) (jharnet_conference_loss_ratio"
                                 f'{{{S}, media="video"}})',
                   "Frozen": f"max by (office) (jharnet_conference_freeze_ratio{{{S}}})",
                   "Last try": "1000 * max by (office) (jharnet_probe_last_run_timestamp_seconds"
                               f'{{{S}, probe="conference"}})'},
                  {"office": "office"},
                  overrides=[override("office", displayName="Office", links=[TO_OFFICE]),
                             coloured("Grade", "short", GRADE),
                             override("Voice (MOS)", decimals=2),
                             override("Video lost", unit="percentunit", decimals=1),
                             override("Frozen", unit="percentunit", decimals=1),
                             override("Last try", unit="dateTimeFromNow")]),
            row("Quality"),
            lines("Voice", "Mean opinion score by the E-model (ITU-T G.107), 1 to 4.5.",
                  _by_direction("jharnet_conference_mos", ', media="audio"'), min=1, max=4.5),
            lines("Picture frozen", "Share of the call, counted as browsers do.",
                  _by_direction("jharnet_conference_freeze_ratio"), unit="percentunit", min=0),
            lines("Video packets lost", "That never arrived, after repeats.",
                  _by_direction("jharnet_conference_loss_ratio", ', media="video"'),
                  unit="percentunit", min=0),
            lines("Sound packets lost", "That never arrived.",
                  _by_direction("jharnet_conference_loss_ratio", ', media="audio"'),
                  unit="percentunit", min=0),
        ],
    )  # fmt: skip


def speed() -> Json:
    """Contract against delivered against need."""
    need = (
        f'max(jharnet_conference_needed_bytes_per_second{{profile="$profile", {D}}})'
        " * 8 * $streams / 0.7"
    )
    delivered = 'jharnet_bandwidth_bytes_per_second{%s, path="%s", direction="%s"}'
    contract = f"max by (office) (jharnet:bandwidth_contracted:bytes_per_second{{{S}, %s}}) * 8"
    columns = {
        "Contract, down": contract % 'direction="down"',
        "Delivered, down": f"max by (office) ({delivered % (S, 'jharnet', 'down')}) * 8",
        "Line, down": "max by (office) (jharnet_bandwidth_capacity_bytes_per_second"
                      f'{{{S}, direction="down"}}) * 8',
        "Contract, up": contract % 'direction="up"',
        "Delivered, up": f"max by (office) ({delivered % (S, 'jharnet', 'up')}) * 8",
        "Share, down": "max by (office) (jharnet:bandwidth_delivered:ratio"
                       f'{{{S}, direction="down"}})',
        "Share, up": f'max by (office) (jharnet:bandwidth_delivered:ratio{{{S}, direction="up"}})',
    }  # fmt: skip
    return dashboard(
        "speed", "JharNet: the speed case",
        "Less delivered than contracted is a case for repair; delivered as contracted, but short "
        "of the need, a case for an upgrade. What is needed: calls at once times the rate of one, "
        "on a line filled to 70 % (policy). Tests in office hours measure what the office's own "
        "traffic leaves.",
        [DISTRICT, OFFICES, choice("profile", "Conference", ("audio", "180p", "360p", "720p"),
                                   "720p"),
         choice("streams", "Calls at once", ("1", "2", "3", "5"), "1"), HUB],
        [
            number("Needed, each direction", "For the conference chosen above.", need, unit="bps",
                   size=(6, 4)),
            number("Short of contract", "Offices under the configured share of their contract.",
                   f"count(min by (district, office) (jharnet:bandwidth_delivered:judged{{{S}}}) "
                   f"< on (district) group_left () jharnet_delivered_threshold_ratio{{{D}}}) "
                   f"or 0 * count(jharnet:bandwidth_delivered:ratio{{{S}}})", size=(6, 4)),
            number("Short of need", "Offices that get less than needed in at least one direction.",
                   "count(min by (office) (jharnet_bandwidth_bytes_per_second"
                   f'{{{S}, path="jharnet"}}) * 8 < scalar({need})) '
                   f"or 0 * count(jharnet:bandwidth_delivered:ratio{{{S}}})", size=(6, 4)),
            number("Uplink", "What headquarters' own line is contracted for.",
                   f"max(jharnet_uplink_contracted_bytes_per_second{{{D}}}) * 8", unit="bps",
                   size=(6, 4)),
            table("Contract, delivered, line", "`Line` is what packet trains say it can carry.",
                  columns, {"office": "office"},
                  overrides=[override("office", displayName="Office", links=[TO_OFFICE]),
                             override("Share.*", pattern=True, unit="percentunit", decimals=0)],
                  unit="bps"),
            *(
                lines(f"Delivered {words}", "Beside what is needed.",
                      [query(delivered % (S, "jharnet", direction) + " * 8", "{{office}}"),
                       query(need, "limit: needed")], unit="bps", min=0)
                for direction, words in (
                    ("down", "towards the offices"), ("up", "from the offices"),
                )
            ),
            lines("Delivered over contracted", "Both directions; below the limit is a breach.",
                  [query(f"jharnet:bandwidth_delivered:ratio{{{S}}}", "{{office}} {{direction}}"),
                   query(f"max(jharnet_delivered_threshold_ratio{{{D}}})", "limit")],
                  unit="percentunit", min=0),
            lines("Internet", "From the office to a speed-test server.",
                  [query(f"{delivered % (S, 'internet', direction)} * 8",
                         f"{{{{office}}}} {direction}")
                   for direction in ("down", "up")], unit="bps", min=0),
            lines("Round trip while the line is full", "Large values are bufferbloat.",
                  [query(f'jharnet_bandwidth_loaded_rtt_seconds{{{S}, path="jharnet"}}',
                         "{{office}} {{direction}}"),
                   query(f"max(jharnet_loaded_rtt_threshold_seconds{{{D}}})", "limit")],
                  unit="s", min=0),
            lines("Test data today", "Bytes that heavy tests have used, and may use.",
                  [query(f"jharnet_budget_spent_bytes{{{S}}}", "{{office}}"),
                   query(f"max(jharnet_budget_bytes{{{D}}})", "limit")],
                  unit="decbytes", min=0),
        ],
        span="now-7d",
    )  # fmt: skip


TROUBLE = (
    ("agent_dropped_measurements", "office", "{{office}}: measurements dropped"),
    ("agent_refused_measurements", "office", "{{office}}: measurements refused"),
    ("schedule_missed_runs", "task", "missed {{task}}"),
    ("part_restarts", "part", "restarted {{part}}"),
    ("database_errors", "", "database errors"),
    ("database_dropped_writes", "", "records lost"),
    ("metrics_errors", "", "metrics errors"),
    ("report_failures", "", "report failures"),
    ("backup_failures", "", "backup failures"),
    ("state_push_failures", "", "failures at the state"),
    ("clock_steps", "", "clock steps"),
)
"""Counters of the hub, the label by which they are counted, and their legend."""


def _increase(name: str, by: str) -> str:
    return f"sum by ({by}) (increase(jharnet_{name}{{{D}}}[$__rate_interval]))"


def monitor() -> Json:
    """Whether the monitor itself can be trusted."""
    return dashboard(
        "monitor", "JharNet: the monitor itself",
        "The hub's own health: a gap in the figures has its reason here.", [DISTRICT, HUB],
        [
            number("Scraped", "Whether Prometheus reaches the hub.",
                   f'min(up{{{D}, job="jharnet-monitor"}})', mappings=YES_NO),
            number("Version", "Of jharnet-monitor.",
                   f"max by (version) (jharnet_build_info{{{D}}})", legend="{{version}}",
                   text="name"),
            number("Up for", "Since the hub's process started.",
                   f'time() - max(process_start_time_seconds{{{D}, job="jharnet-monitor"}})',
                   unit="s"),
            number("Certificate", "Until it expires.",
                   f"min(jharnet_certificate_expiry_timestamp_seconds{{{D}}}) - time()", unit="s"),
            number("Last report", "When a weekly report was sent.",
                   f"1000 * max(jharnet_report_last_sent_timestamp_seconds{{{D}}})",
                   unit="dateTimeFromNow"),
            number("Last backup", "When a backup of the hub was made and shipped.",
                   f"1000 * max(jharnet_backup_last_success_timestamp_seconds{{{D}}})",
                   unit="dateTimeFromNow"),
            number("Last week at the state", "When the state took a signed week.",
                   f"1000 * max(jharnet_state_push_last_success_timestamp_seconds{{{D}}})",
                   unit="dateTimeFromNow"),
            number("Weeks that the state refused", "With the reason; they are not handed in again.",
                   f"max by (week, reason) (jharnet_state_push_refused{{{D}}})",
                   legend="{{week}}: {{reason}}", text="name"),
            number("Clock disciplined", "By NTP, as the kernel says.",
                   f"min(jharnet_clock_synchronized{{{D}}})", mappings=YES_NO),
            lines("Lateness", "Of the event loop, and of the last job.",
                  [query(f"jharnet_event_loop_lag_seconds{{{D}}}", "event loop"),
                   query(f"jharnet_schedule_lag_seconds{{{D}}}", "schedule")], unit="s", min=0),
            lines("Something went wrong", "Counts of each, for every step of the graph.",
                  [query(_increase(f"{name}_total", by), legend) for name, by, legend in TROUBLE],
                  min=0),
            lines("Records on their way", "What waits on disk, as the database takes none.",
                  [query(f"jharnet_database_waiting_writes{{{D}}}", "waiting"),
                   query(f"jharnet_database_failing{{{D}}}", "1: takes none")], min=0),
            lines("Agents", "Connected now, and the measurements that they still hold.",
                  [query(f"jharnet_agents_connected{{{D}}}", "connected"),
                   query(f"sum(jharnet_agent_spooled_measurements{{{D}}})", "held back")], min=0),
            lines("Agents' clocks", "Ahead of the hub's by; what they measured is corrected.",
                  [query(f"jharnet_agent_clock_offset_seconds{{{D}}}", "{{office}}")], unit="s"),
            lines("Runs", "Measurements recorded a minute.",
                  [query("60 * sum by (probe, outcome) "
                         f"(rate(jharnet_probe_runs_total{{{D}}}[$__rate_interval]))",
                         "{{probe}} {{outcome}}")], min=0),
            lines("Database and disk", "Size, and room left.",
                  [query(f"jharnet_database_size_bytes{{{D}}}", "database"),
                   query(f"jharnet_disk_free_bytes{{{D}}}", "free")], unit="bytes", min=0),
            lines("Process", "Processor time, and memory in use.",
                  [query(f'rate(process_cpu_seconds_total{{{D}, job="jharnet-monitor"}}'
                         "[$__rate_interval])",
                         "processor"),
                   query(f'process_resident_memory_bytes{{{D}, job="jharnet-monitor"}}', "memory")],
                  overrides=[override("memory", unit="bytes", custom__axisPlacement="right"),
                             override("processor", unit="percentunit")], min=0),
            lines("Scrape", "How long Prometheus' own request takes.",
                  [query(f'scrape_duration_seconds{{{D}, job="jharnet-monitor"}}', "duration")],
                  unit="s", min=0),
            number("Last reload worked", "Of the hub's configuration; not known before the first.",
                   f"min(jharnet_config_last_reload_successful{{{D}}})", mappings=YES_NO,
                   size=(6, 8)),
            number("Configuration of", "When the one in force was read.",
                   f"1000 * max(jharnet_config_last_reload_success_timestamp_seconds{{{D}}})",
                   unit="dateTimeFromNow", size=(6, 8)),
        ],
    )  # fmt: skip
