"""Office hours, holidays, conferences, and when tests are due."""
