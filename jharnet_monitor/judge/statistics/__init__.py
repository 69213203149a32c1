"""Intervals for samples that come in days."""
