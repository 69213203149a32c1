"""Judgements: pure functions over measurements; no clock, no I/O."""
