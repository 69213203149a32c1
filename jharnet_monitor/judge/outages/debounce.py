"""Decides from single replies and timeouts whether an address answers. Pure."""

from __future__ import annotations


class Debouncer:
    """Whether one address answers: True, False, or None while that is not known.

    A reply can overtake the timeout of an earlier request, so requests are identified by the time
    they were sent; a timeout of a request sent before the last answered one is ignored. One reply
    is enough to reset the count of timeouts, but an address that is down needs `up_after` replies
    in a row to count as up; an address that is up needs `down_after` timeouts in a row to count as
    down.

    `since` is the time of the last change of `answers`: the last reply before the address went
    down, or the first reply after it. A silence does not begin before `begin`, and lasts until its
    state is forgotten. All times are seconds of one monotonic clock.

    >>> address = Debouncer(down_after=3, up_after=2, now=0.0)
    >>> address.record_reply(sent=1.0, now=1.1), address.answers, address.since
    (True, True, 1.1)
    >>> [address.record_timeout(sent) for sent in (2.0, 3.0, 4.0)]
    [False, False, True]
    >>> address.answers, address.since
    (False, 1.1)
    >>> address.record_reply(sent=5.0, now=5.1), address.record_reply(sent=6.0, now=6.1)
    (False, True)
    >>> address.answers, address.since
    (True, 5.1)
    """

    def __init__(self, down_after: int, up_after: int, now: float) -> None:
        self._down_after = down_after
        self._up_after = up_after
        self._last_answered = float("-inf")
        """When the newest request that was answered was sent."""
        self._forgotten = float("-inf")
        """Requests sent before this time are ignored."""
        self._earliest = now
        """A silence counts from this time at the earliest."""
        self.last_reply = self._first_reply = now
        self._replies = 0
        self.timeouts = 0
        """Timeouts in a row, since the last request that was answered."""
        self.answers: bool | None = None
        self.since = now

    def begin(self, now: float) -> None:
        """Requests are sent from now on."""
        self._earliest = now

    def record_reply(self, sent: float, now: float) -> bool:
        """Record that the request sent at `sent` was answered; True if `answers` changed."""
        if sent < self._forgotten:
            return False
        self._last_answered = max(self._last_answered, sent)
        self.last_reply = now
        self.timeouts = 0
        self._replies += 1
        if self._replies == 1:
            self._first_reply = now
        if self.answers is False and self._replies < self._up_after:
            return False
        return self._set(True, self._first_reply)

    def record_timeout(self, sent: float) -> bool:
        """Record that the request sent at `sent` was never answered; True if `answers` changed."""
        if sent < max(self._last_answered, self._forgotten):
            return False
        self.timeouts += 1
        self._replies = 0
        return self.timeouts >= self._down_after and self.set_down()

    def set_down(self) -> bool:
        """Count the address as down, because no reply is possible; True if `answers` changed."""
        self._replies = 0
        return self._set(False, max(self.last_reply, self._earliest))

    def set_unknown(self, now: float, sent_before: float = float("-inf")) -> bool:
        """Forget the state, because nothing was sent for a while; True if `answers` changed.
        Outcomes of requests sent before `sent_before` are ignored from now on.
        """
        self._forgotten = sent_before
        self.timeouts = self._replies = 0
        return self._set(None, now if self.answers is False else self.last_reply)

    def _set(self, answers: bool | None, since: float) -> bool:
        if self.answers is answers:
            return False
        self.answers, self.since = answers, since
        return True
