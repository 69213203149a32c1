"""The agent at a block office: dials out to the hub, answers probes, keeps its results."""
