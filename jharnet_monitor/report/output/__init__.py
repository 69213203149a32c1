"""The output formats of a report: PDF, HTML, XLSX, CSV."""
