"""The dossier: the letter with its evidence in one file, and the verifier of that file."""
