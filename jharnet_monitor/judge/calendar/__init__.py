"""Office hours, holidays, planned conferences, test times and report periods."""
