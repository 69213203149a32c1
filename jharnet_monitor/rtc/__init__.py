"""What the conference probe needs of aiortc: clips, sender, receiver tap, call.

Both ends of a call are the same code. aiortc gives SDP, ICE, DTLS and SRTP; what is measured
(when packets went out and came in, what was asked for again) is ours, at one seam:
`aiortc_private.Wire`.
"""
