"""Words and formats: everything that a person reads, in Hindi and English."""
