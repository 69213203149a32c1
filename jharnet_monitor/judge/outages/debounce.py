"""When silence becomes "it does not answer", and when a reply becomes "it answers again"."""

from __future__ import annotations


class Debouncer:
    """One address: answering, silent, or (`answers` None) not known yet.

    Requests are told apart by the moment they were sent, since a reply overtakes the time-out of
    a request before it: what was sent before the last answered request says nothing new. Any
    reply ends a silence in the making; leaving a settled silence takes `up_after` of them.
    `since` is the moment from which `answers` has been so: the last reply before a silence, or
    the first one after it. All moments are seconds of one monotonic clock.

    >>> address = Debouncer(down_after=3, up_after=2, now=0.0)
    >>> address.replied(sent=1.0, now=1.1), address.answers, address.since
    (True, True, 1.1)
    >>> address.missed(sent=2.0), address.missed(sent=3.0), address.missed(sent=4.0)
    (False, False, True)
    >>> address.answers, address.since
    (False, 1.1)
    >>> address.replied(sent=5.0, now=5.1), address.replied(sent=6.0, now=6.1)
    (False, True)
    >>> address.answers, address.since
    (True, 5.1)
    """

    def __init__(self, down_after: int, up_after: int, now: float) -> None:
        self._down_after = down_after
        self._up_after = up_after
        self._answered_sent = float("-inf")
        self.last_reply = self._streak_began = now
        self._replies = 0
        self.misses = 0
        """Requests on end, since the last one that was answered."""
        self.answers: bool | None = None
        self.since = now

    def replied(self, sent: float, now: float) -> bool:
        """A request sent at this moment was answered; True when `answers` changed by it."""
        self._answered_sent = max(self._answered_sent, sent)
        self.last_reply = now
        self.misses = 0
        self._replies += 1
        if self._replies == 1:
            self._streak_began = now
        if self.answers is False and self._replies < self._up_after:
            return False
        return self._become(True, self._streak_began)

    def missed(self, sent: float) -> bool:
        """A request sent at this moment was never answered; True when `answers` changed by it."""
        if sent < self._answered_sent:
            return False
        self.misses += 1
        self._replies = 0
        return self.misses >= self._down_after and self._become(False, self.last_reply)

    def fall_silent(self) -> bool:
        """It is known otherwise that nothing can come back; True when `answers` changed by it."""
        self._replies = 0
        return self._become(False, self.last_reply)

    def lose_sight(self) -> bool:
        """Nothing can be sent any more: not known. True when `answers` changed by it."""
        self.misses = self._replies = 0
        return self._become(None, self.last_reply)

    def _become(self, answers: bool | None, since: float) -> bool:
        if self.answers is answers:
            return False
        self.answers, self.since = answers, since
        return True
