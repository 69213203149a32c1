"""Writes the parts of vmauth's configuration and of the rules that depend on the districts.

The state's file lists the expected districts. The rules record a series for each of them, which
continues when a district's own figures end, so that an alert can find the silent district.
"""

from __future__ import annotations

from collections.abc import Iterator

from jharnet_monitor.config.state_file import StateFile

_MADE = "# Written by `jharnet-monitor state rules`; change the state's file instead.\n"
WRITER = "http://127.0.0.1:8429"
"""vmagent, which buffers on disk the samples that a node has not accepted yet."""
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
    """`vmauth.yml`: each district writes with its own label and password, and Grafana reads all.

    vmauth takes the passwords from its environment, such as `EAST_SINGHBHUM_PASSWORD`.
    """
    return "".join([_MADE, "users:\n", *_writers(state), *_readers(state)])


def variable_of(district: str) -> str:
    """The environment variable of vmauth that holds a district's password.

    >>> variable_of("east-singhbhum")
    'EAST_SINGHBHUM_PASSWORD'
    """
    return district.upper().replace("-", "_") + "_PASSWORD"


def _writers(state: StateFile) -> Iterator[str]:
    """Users of the districts; vmauth sets the label, so that no district can write as another."""
    for district in state.districts:
        yield f"  - username: {district.id}\n"
        yield f'    password: "%{{{variable_of(district.id)}}}"\n'
        yield "    url_map:\n"
        yield "      - src_paths: [/api/v1/write]\n"
        yield f'        url_prefix: "{WRITER}/?extra_label=district={district.id}"\n'
        yield from _queries(f"?extra_filters[]={{district=%22{district.id}%22}}")


def _readers(state: StateFile) -> Iterator[str]:
    """Grafana and vmalert read all districts; vmalert also writes its recorded series."""
    for name, writes in (("grafana", False), ("vmalert", True)):
        yield f"  - username: {name}\n"
        yield f'    password: "%{{{variable_of(name)}}}"\n'
        yield "    url_map:\n"
        if writes:
            yield "      - src_paths: [/api/v1/write]\n"
            yield f'        url_prefix: "{WRITER}"\n'
        yield from _queries("")


def _queries(suffix: str) -> Iterator[str]:
    """Routes for queries, which the first node that answers serves."""
    yield '      - src_paths: ["/api/v1/(query|query_range|series|labels|label/[^/]+/values)"]\n'
    yield "        load_balancing_policy: first_available\n"
    yield "        retry_status_codes: [500, 502, 503]\n"
    yield "        url_prefix:\n"
    for node in NODES:
        yield f'          - "{node}{"/" if suffix else ""}{suffix}"\n'


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
