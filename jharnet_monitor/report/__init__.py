"""The Deputy Commissioner's report, in Hindi and English."""
