"""What both ends of a call counted, and what that amounts to."""
