"""What the conference probe needs of aiortc: clips, sender, receiver tap, call."""
