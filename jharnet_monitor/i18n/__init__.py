"""Words and formats of everything that people read, in Hindi and English."""
