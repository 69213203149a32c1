"""Evaluation of measurements by pure functions, without clock or I/O."""
