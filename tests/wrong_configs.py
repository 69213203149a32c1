"""A valid configuration, and common mistakes in it."""

from __future__ import annotations

from dataclasses import dataclass

GOOD = """\
district:
  id: east-singhbhum
  name: East Singhbhum
  name_hi: पूर्वी सिंहभूम
  timezone: Asia/Kolkata
  office_hours: {days: mon-sat, from: "10:00", to: "17:30", holidays: IN-JH}
hub:
  listen: 0.0.0.0:9797
  database: sqlite:///monitor.db
  tls: {certificate: tls/hub.pem, key: tls/hub.key}
  api_token_file: secrets/api
  udp_ports: 40000-40199
  uplink: {contracted: 34 Mbit/s, gateway: 10.8.0.1}
probes:
  latency: {every: 60s, packets: 60}
  bandwidth: {every: 2h}
  conference: {at: ["11:00", "15:00"], profile: 720p, seconds: 30}
budget: 300 MB
thresholds: {loss: 2%, rtt: 300ms, jitter: 40ms, delivered: 80%, grade: 3}
offices:
  - id: potka
    name: Potka
    name_hi: पोटका
    router: 10.8.3.1
    pc: 10.8.3.10
    link: {contracted: 4 Mbit/s, kind: leased-line, sla: 99.5%}
    agent: {token_hash_file: secrets/potka}
  - id: boram
    name: Boram
    name_hi: बोड़ाम
    router: 10.8.4.1
report:
  languages: [hi, en]
  to: [dc@example.in]
  smtp: {host: smtp.example.in, user: jharnet, password_file: secrets/smtp, from: j@example.in}
"""


@dataclass(frozen=True)
class Wrong:
    """A valid file with `old` replaced by `new`; the error is on the line that has `at`."""

    old: str
    new: str
    at: str
    key: str
    remedy: str


WRONG = (
    Wrong("listen:", "lissen:", "lissen", "hub.lissen", "did you mean `listen`?"),
    Wrong("  listen:", "  url: hub.example:9797\n  listen:", "url:", "hub.url",
          "must be an address such as https://10.8.0.2:9797, not `hub.example:9797`"),
    Wrong("  listen:", "  url: https://h:99999\n  listen:", "url:", "hub.url", "https://10.8.0.2:"),
    Wrong("  bandwidth:", "  service: {services: [{name: x, url: 'http://x:99999'}]}\n  bandwidth:",
          "99999", "probes.service.services[0].url", "must be an address such as https://eoffice"),
    Wrong("  bandwidth:", "  service: {services: [{name: x, url: 'https://x/ y'}]}\n  bandwidth:",
          "x/ y", "probes.service.services[0].url", "must be an address without spaces"),
    Wrong("  bandwidth:", "  service: {services: [{name: x, url: 'https://[x/'}]}\n  bandwidth:",
          "[x/", "probes.service.services[0].url", "must be an address such as https://eoffice"),
    Wrong("bandwidth: {", "bandwidth: {internet_method: http, internet_server: 'http://h:0/f', ",
          "h:0", "probes.bandwidth.internet_server", "such as https://speed.example.in/"),
    Wrong("budget:", "colour: red\nbudget:", "colour", "colour", "known here: district, hub"),
    Wrong("sla: 99.5%", "slo: 99.5%", "slo", "offices[0].link.slo", "did you mean `sla`?"),
    Wrong("every: 60s", "every: 60", "every: 60,", "probes.latency.every", "such as `60s`, not"),
    Wrong("every: 60s", "every: 60 sec", "60 sec", "probes.latency.every", "ms, s, min, h"),
    Wrong("every: 60s", "every: 0s", "0s", "probes.latency.every", "must be at least 1s"),
    Wrong("every: 60s", "every: -5s", "-5s", "probes.latency.every", "must not be negative"),
    Wrong("every: 2h", "every: 1s", "every: 1s", "probes.bandwidth.every", "at least 10s"),
    Wrong("packets: 60", "packets: yes", "yes", "probes.latency.packets", "a whole number"),
    Wrong("packets: 60", "packets: 0", "packets", "probes.latency.packets", "or equal to 1, not 0"),
    Wrong("every: 60s, packets: 60", "every: 2s, packets: 500", "500", "probes.latency.packets",
          "must be at most 200"),
    Wrong("every: 60s", "every: 1s, timeout: 2s", "timeout", "probes.latency.timeout",
          "must not be longer than `every` (1s)"),
    Wrong("packets: 60", "packets: 60, dscp: voice", "voice", "probes.latency.dscp",
          "must be a mark such as EF, AF41 or CS0"),
    Wrong("  bandwidth:", "  path: {hops: [{address: 10.8.0.1/8, name: x}]}\n  bandwidth:", "/8",
          "probes.path.hops[0].address", "a network such as 10.8.0.0/24, not `10.8.0.1/8`"),
    Wrong("sla: 99.5%", "failover: maybe", "maybe", "offices[0].link.failover", "boolean"),
    Wrong('["11:00"', "[11:00", "11:00", "probes.conference.at[0]", 'in quotes, "11:00"'),
    Wrong('"11:00"', '"25:00"', "25:00", "probes.conference.at[0]", 'and "23:59"'),
    Wrong('"11:00"', '"15:00"', "15:00", "probes.conference.at[1]", "listed twice; keep one"),
    Wrong("720p", "1080p", "1080p", "probes.conference.profile", "'540p' or '720p', not '1080p'"),
    Wrong("seconds: 30", "seconds: 30s", "30s", "probes.conference.seconds", "must be a number"),
    Wrong('to: "17:30"', 'to: "09:30"', "09:30", "district.office_hours.to", "later than `from`"),
    Wrong("from: \"10:00\"", "from: 10:00", "office_hours", "district.office_hours.from",
          'in quotes, "10:00"'),
    Wrong("days: mon-sat", "days: monday", "monday", "district.office_hours.days", "mon-sat or"),
    Wrong("IN-JH", "IN-XX", "IN-XX", "district.office_hours.holidays", "use IN-JH"),
    Wrong("Asia/Kolkata", "Asia/Ranchi", "Ranchi", "district.timezone", "use Asia/Kolkata"),
    Wrong("  name_hi: पूर्वी सिंहभूम\n", "", "district:", "district.name_hi",
          "is missing; add `name_hi: पूर्वी सिंहभूम`"),
    Wrong("id: east-singhbhum", "id: East Singhbhum", "id: East", "district.id", "such as `potka`"),
    Wrong("0.0.0.0:9797", "https://127.0.0.1:9797", "listen", "hub.listen",
          "must be ADDRESS:PORT, such as 0.0.0.0:9797, not `https://127.0.0.1:9797`"),
    Wrong("0.0.0.0:9797", "9797", "listen", "hub.listen", "must be text"),
    Wrong("0.0.0.0:9797", '":9797"', "listen", "hub.listen", "such as 0.0.0.0:9797"),
    Wrong("0.0.0.0:9797", '"::1:9797"', "listen", "hub.listen", "`[::1]:9797`"),
    Wrong("0.0.0.0:9797", "0.0.0.0:0", "listen", "hub.listen", "such as 9797, not 0"),
    Wrong("sqlite:///monitor.db", "mysql://x/y", "mysql", "hub.database", "`mysql` is not"),
    Wrong("sqlite:///monitor.db", "postgresql://u:geheim@h/d", "geheim", "hub.database",
          "put it into ~/.pgpass"),
    Wrong("sqlite:///monitor.db", '"postgresql://u@h/d?password=geheim"', "geheim", "hub.database",
          "must not contain `password`: put a password into ~/.pgpass instead"),
    Wrong("sqlite:///monitor.db", '"postgresql://u@h/d?sslPassword=geheim"', "geheim",
          "hub.database", "must not contain `sslPassword`"),
    Wrong("sqlite:///monitor.db", "postgresql://u:geheim@h:port/d", "geheim", "hub.database",
          "must be a database URL such as sqlite:///monitor.db or postgresql:///jharnet"),
    Wrong("sqlite:///monitor.db", "postgresql+psycopg2://u@h/d", "psycopg2", "hub.database",
          "or postgresql:///jharnet; `postgresql+psycopg2` is not supported"),
    Wrong("sqlite:///monitor.db", "sqlite+pysqlcipher:///m.db", "cipher", "hub.database",
          "must be sqlite:///monitor.db or postgresql:///jharnet; `sqlite+pysqlcipher` is not"),
    Wrong("{certificate: tls/hub.pem, key: tls/hub.key}", "on", "tls: on", "hub.tls",
          "or be `off`"),
    Wrong(", key: tls/hub.key", "", "tls:", "hub.tls.key", "is missing; add `key: tls/hub.key`"),
    Wrong("40000-40199", "40199-40000", "udp", "hub.udp_ports", "`40000-40199`"),
    Wrong("40000-40199", "40000-40001", "udp", "hub.udp_ports", "at least 20 ports"),
    Wrong("34 Mbit/s", "34 Mbps", "Mbps", "hub.uplink.contracted", "bit/s, kbit/s, Mbit/s"),
    Wrong("34 Mbit/s", "0 Mbit/s", "0 Mbit", "hub.uplink.contracted", "must be more than 0"),
    Wrong("contracted: 4 Mbit/s, ", "", "kind: leased", "offices[0].link.contracted",
          "add `contracted: 4 Mbit/s`"),
    Wrong("300 MB", '"\\ud800"', "ud800", "budget", "has half a character, such as"),
    Wrong("300 MB", "300 MiB", "MiB", "budget", "B, kB, MB, GB"),
    Wrong("loss: 2%", "loss: 2", "loss: 2,", "thresholds.loss", "such as `2%`, not `2`"),
    Wrong("loss: 2%", "loss: 120%", "120%", "thresholds.loss", "must not be more than 100%"),
    Wrong("grade: 3", "grade: 5", "grade: 5", "thresholds.grade", "less than or equal to 4, not 5"),
    Wrong("jitter: 40ms", "jitter: 400ms", "400ms", "thresholds.jitter", "than `rtt` (300ms)"),
    Wrong("rtt: 300ms", "rtt: 1h", "rtt: 1h", "thresholds.loaded_rtt", "than `rtt` (1h), as"),
    Wrong("sla: 99.5%", "sla: 0%", "sla: 0%", "offices[0].link.sla", "must be more than 0"),
    Wrong("sla: 99.5%", "restore_within: 0h", "0h", "offices[0].link.restore_within",
          "must be more than 0"),
    Wrong("grade: 3", "availability: 0%", "0%", "thresholds.availability", "must be more than 0"),
    Wrong("grade: 3", "restore_within: 0s", "restore", "thresholds.restore_within", "more than 0"),
    Wrong("grade: 3", "loaded_rtt: 50ms", "50ms", "thresholds.loaded_rtt", "not be smaller than"),
    Wrong("delivered: 80%", "delivered: 0%", "0%", "thresholds.delivered", "must be more than 0"),
    Wrong("id: boram", "id: potka", "id: potka\n    name: Boram", "offices[1].id",
          "already the id of offices[0]"),
    Wrong("id: boram", "id: all", "id: all", "offices[1].id", "reserved for what is about every"),
    Wrong("id: boram", "id: uplink", "id: uplink", "offices[1].id", "reserved for headquarters' l"),
    Wrong("router: 10.8.4.1", "router: 0.0.0.0", "router: 0.0", "offices[1].router", "one device"),
    Wrong("router: 10.8.4.1", "router: 255.255.255.255", "255.255", "offices[1].router",
          "must be the address of one device, such as 10.8.3.1, not `255.255.255.255`"),
    Wrong("pc: 10.8.3.10", "pc: 224.0.0.1", "224.", "offices[0].pc", "one device"),
    Wrong("pc: 10.8.3.10", 'pc: "ff02::1"', "ff02", "offices[0].pc", "one device"),
    Wrong("pc: 10.8.3.10", 'pc: "::"', '"::"', "offices[0].pc", "one device"),
    Wrong("name: Potka", 'name: "Pot\\0ka"', "Pot", "offices[0].name", "not `Pot\\x00ka`"),
    Wrong("name: Potka", 'name: "Pot\\nka"', "Pot", "offices[0].name", "not `Pot\\nka`"),
    Wrong("name: Potka", 'name: "Pot\\eka"', "Pot", "offices[0].name", "must be one line without"),
    Wrong("id: potka", 'id: "pot\\nka"', "pot", "offices[0].id", "not `pot\\nka`"),
    Wrong("\nreport:", '\nletter: {en: {to: ["a\\tb"]}}\nreport:', "letter", "letter.en.to[0]",
          "must be one line without control characters"),
    Wrong("languages: [hi, en]", "directory: ''", "directory", "report.directory", "is empty"),
    Wrong("languages: [hi, en]", 'directory: "a\\0b"', "directory", "report.directory", "one line"),
    Wrong("secrets/api", "'  '", "api_token", "hub.api_token_file", "must be a file name, and is"),
    Wrong("router: 10.8.4.1", "router: 10.8.3.1", "10.8.3.1\nreport", "offices[1].router",
          "is already offices[0].router"),
    Wrong("router: 10.8.4.1", "router: 10.8.0.1", "10.8.0.1\nreport", "offices[1].router",
          "is already hub.uplink.gateway"),
    Wrong("router: 10.8.4.1", "router: 10.8.4.256", "256", "offices[1].router", "such as 10.8.3.1"),
    Wrong("router: 10.8.4.1", "router: a..b", "a..b", "offices[1].router", "or a host name, not"),
    Wrong("router: 10.8.4.1", f"router: {'a' * 64}.in", "aaaa", "offices[1].router", "a host name"),
    Wrong("  listen:", "  url: http://a..b\n  listen:", "url:", "hub.url", "https://10.8.0.2:"),
    Wrong("0.0.0.0:9797", "a..b:9797", "listen", "hub.listen", "an IP address or a host name"),
    Wrong("  bandwidth:", "  service: {services: [{name: x, url: 'https://a..in/'}]}\n  bandwidth:",
          "a..in", "probes.service.services[0].url", "must be an address such as https://eoffice"),
    Wrong("dc@example.in", "dc@example..in", "dc@", "report.to[0]", "must be a mail address"),
    Wrong("    router: 10.8.4.1\n", "", "id: boram", "offices[1]", "add `router:` or `pc:`"),
    Wrong("name: Potka", "name: yes", "name: yes", "offices[0].name", 'in quotes: "yes"'),
    Wrong("name: Potka", "name: 0123", "name: 01", "offices[0].name", 'in quotes: "0123"'),
    Wrong("name: Potka", "name: 2026-11-25", "2026", "offices[0].name", 'quotes: "2026-11-25"'),
    Wrong("name: Potka", "name: 1:30", "1:30", "offices[0].name", 'in quotes: "1:30"'),
    Wrong("name: Potka", "name:", "name:\n", "offices[0].name", "must be text, not nothing"),
    Wrong("name: Potka", "name: [a]", "[a]", "offices[0].name", "not a section or a list"),
    Wrong("id: boram", "id: no", "id: no", "offices[1].id", 'write it in quotes: "no"'),
    Wrong("    name: Boram\n", "    name: Boram\n    seats: 010\n", "010", "offices[1].seats",
          'is 8 to YAML; write 10 for a number, or "010" in quotes for text'),
    Wrong("packets: 60", "packets: 1:00", "1:00", "probes.latency.packets", "is 60 to YAML; write"),
    Wrong("  udp_ports:", "  access_log_days: 07777\n  udp_ports:", "0777", "hub.access_log_days",
          "is 4095 to YAML; write 7777 for a number"),
    Wrong("loss: 2%", "loss: 010", "010", "thresholds.loss", "is 8 to YAML"),
    Wrong("  office_hours:", "  contact: {name: x, phone: 06572431234}\n  office_hours:", "0657",
          "district.contact.phone", 'must be text; write it in quotes: "06572431234"'),
    Wrong("\nreport:", "\nletter: {number: 0123}\nreport:", "letter", "letter.number",
          'must be text; write it in quotes: "0123"'),
    Wrong("packets: 60", "packets: yes", "yes", "probes.latency.packets", "number, not yes"),
    Wrong("name: Potka", "name: 5", "name: 5", "offices[0].name", 'in quotes: "5"'),
    Wrong("    name_hi: बोड़ाम\n", "", "id: boram", "offices[1].name_hi", "add `name_hi:"),
    Wrong("    name: Boram\n", "    name: Boram\n    name: B\n", "name: B\n", "offices[1].name",
          "is listed twice (first on line 29)"),
    Wrong("    name: Boram\n", "    name: Boram\n    latitude: 95.0\n", "latitude",
          "offices[1].latitude", "less than or equal to 90"),
    Wrong("[hi, en]", "[hi, bn]", "bn", "report.languages[1]", "must be 'hi' or 'en', not 'bn'"),
    Wrong("[hi, en]", "[hi, hi]", "hi, hi", "report.languages[1]", "is listed twice; keep one"),
    Wrong("[hi, en]", "hi", "languages", "report.languages", "must be a list, such as `[a, b]`"),
    Wrong("dc@example.in", "dc at example.in", "dc at", "report.to[0]", "must be a mail address"),
    Wrong(", password_file: secrets/smtp", "", "smtp:", "report.smtp", "add `password_file:`"),
    Wrong("user: jharnet", "user: jharnet, security: none", "security", "report.smtp.security",
          "use starttls"),
    Wrong("host: smtp.example.in", "host: smtp example", "smtp example", "report.smtp.host",
          "an IP address or a host name"),
    Wrong("  to: [dc@example.in]", "  to: [dc@example.in]\n  day: monday", "monday",
          "report.day", "must be 'mon'"),
    Wrong("\nreport:", "\nretention: {raw: 30d}\nreport:", "retention", "retention.raw",
          "must be at least 92d"),
)  # fmt: skip
