"""The line: what it needs, what was contracted, what it delivers."""
