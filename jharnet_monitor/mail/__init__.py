"""The weekly mail: when it is due, what it says, and how it reaches everyone."""
