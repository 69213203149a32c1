"""The daemon at headquarters, and what only it uses."""
