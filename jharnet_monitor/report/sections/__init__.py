"""The parts of a report: figures put into sentences and tables."""
