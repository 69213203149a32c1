"""Conference readiness: a real two-way WebRTC call."""
