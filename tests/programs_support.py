"""Ends single programs of a running demo, as a power cut or a person would."""

from __future__ import annotations

from jharnet_monitor.demo.programs import Programs


def kill_hub(programs: Programs) -> None:
    """End the hub as a power cut would, without a word."""
    hub = programs._running.pop("hub")
    hub.kill()
    hub.wait()


def stop_agent(programs: Programs, office: str, *, kill: bool = False) -> None:
    """End an agent: in order, with its goodbye, or without a word."""
    agent = programs._running.pop(office)
    agent.kill() if kill else agent.terminate()
    agent.wait()
