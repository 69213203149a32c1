"""WebRTC calls for the conference probe, built on aiortc.

`call.Call` is one end of a call; the hub and the agent run the same code. aiortc provides SDP,
ICE, DTLS and SRTP. The measurement (send and arrival times, loss, retransmissions) is our own and
attaches to aiortc in one place, `aiortc_private.PacketTap`.

`send` holds the sending half, `receive` the receiving half, `media` the clips that are sent, and
`stats` what is computed from a finished call.
"""
