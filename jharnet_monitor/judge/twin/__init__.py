"""A twin of the call: two WebRTC clients, simulated packet by packet on a model of the line."""
