"""Confidence intervals for samples that are clustered by day."""
