"""The sections of a report: figures as sentences, tables and charts."""
