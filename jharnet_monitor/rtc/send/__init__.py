"""The sending half of a call."""
