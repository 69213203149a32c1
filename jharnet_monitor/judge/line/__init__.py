"""An office's line: what it delivers, what was contracted, what is needed, and the verdict."""
