"""The report for the Deputy Commissioner, in Hindi and English."""
