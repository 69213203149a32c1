"""Ends single programs of a running demo."""

from __future__ import annotations

from jharnet_monitor.demo.programs import Programs


def kill_hub(programs: Programs) -> None:
    """Kill the hub."""
    hub = programs._running.pop("hub")
    hub.kill()
    hub.wait()


def stop_agent(programs: Programs, office: str, *, kill: bool = False) -> None:
    """Stop an agent, which sends its goodbye, or kill it."""
    agent = programs._running.pop(office)
    agent.kill() if kill else agent.terminate()
    agent.wait()
