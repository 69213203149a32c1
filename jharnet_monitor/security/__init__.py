"""Tokens, the files that hold secrets, and the district's certificates."""
