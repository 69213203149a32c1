"""The conference probe: a real two-way WebRTC call between headquarters and an office."""
