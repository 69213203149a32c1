"""The data of a report: figures of a period, read from the store."""
