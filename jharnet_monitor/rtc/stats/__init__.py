"""What is computed from a call: its statistics, playout, freezes, and the load of this host."""
