"""What vmauth and the rules need to know of the districts, written from the state's file.

One list says who is expected. A district that stands in no list cannot be missed, so the rules have
it as a recorded series: where its figures end, that series goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.config.state_file import StateFile

_MADE = "# Written by `jharnet-monitor state rules`; change the state's file instead.\n"
WRITER = "http://127.0.0.1:8429"
"""vmagent, which keeps on disk what a node has not taken."""
NODES = ("http://node-a.example.in:8428", "http://node-b.example.in:8428")


def expected_rules(state: StateFile) -> str:
    """`rules/districts.yml`: a series for each expected district."""
    lines = [_MADE, "groups:\n", "  - name: jharnet-state-expected\n", "    interval: 30s\n",
             "    rules:\n"]  # fmt: skip
    for district in state.districts:
        lines += [
            "      - record: jharnet:district:expected\n",
            "        expr: vector(1)\n",
            f"        labels: {{district: {district.id}, name: {_quoted(district.name)}, "
            f"name_hi: {_quoted(district.name_hi)}}}\n",
        ]
    return "".join(lines)


def vmauth_config(state: StateFile) -> str:
    """`vmauth.yml`: each district writes with its own label and password; Grafana reads all.

    Passwords come from the environment of vmauth, such as `EAST_SINGHBHUM_PASSWORD`.
    """
    return "".join([_MADE, "users:\n", *_writers(state), *_readers(state)])


def variable_of(district: str) -> str:
    """The name of a district's password in the environment of vmauth.

    >>> variable_of("east-singhbhum")
    'EAST_SINGHBHUM_PASSWORD'
    """
    return district.upper().replace("-", "_") + "_PASSWORD"


def _writers(state: StateFile) -> Iterator[str]:
    """A district's user writes, and its label is set whatever its Prometheus says."""
    for district in state.districts:
        yield f"  - username: {district.id}\n"
        yield f'    password: "%{{{variable_of(district.id)}}}"\n'
        yield "    url_map:\n"
        yield "      - src_paths: [/api/v1/write]\n"
        yield f'        url_prefix: "{WRITER}/?extra_label=district={district.id}"\n'
        yield from _queries(f"?extra_filters[]={{district=%22{district.id}%22}}")


def _readers(state: StateFile) -> Iterator[str]:
    """Grafana and vmalert read all; vmalert also writes what it records."""
    for name, writes in (("grafana", False), ("vmalert", True)):
        yield f"  - username: {name}\n"
        yield f'    password: "%{{{variable_of(name)}}}"\n'
        yield "    url_map:\n"
        if writes:
            yield "      - src_paths: [/api/v1/write]\n"
            yield f'        url_prefix: "{WRITER}"\n'
        yield from _queries("")


def _queries(suffix: str) -> Iterator[str]:
    """Reading, from the first node that answers."""
    yield '      - src_paths: ["/api/v1/(query|query_range|series|labels|label/[^/]+/values)"]\n'
    yield "        load_balancing_policy: first_available\n"
    yield "        retry_status_codes: [500, 502, 503]\n"
    yield "        url_prefix:\n"
    for node in NODES:
        yield f'          - "{node}{"/" if suffix else ""}{suffix}"\n'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
