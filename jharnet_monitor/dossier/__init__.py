"""The letter, its evidence, and the verifier that needs nothing but the file."""
