"""The forms of a report: PDF, HTML, XLSX, CSV."""
