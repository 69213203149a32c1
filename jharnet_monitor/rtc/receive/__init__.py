"""The receiving half of a call."""
