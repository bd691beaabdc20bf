"""Connections that have something half sent or unread: which of them make no progress, and when to look."""
from ..core.turns import STEP
from .channel import HELD_UP, LINGERING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, List, Optional
    from ..timers import Timers
    from .channel import Channel

SWEEP_INTERVAL = 5.0    # seconds between looks at peers that make no progress
PROGRESS = 65536        # bytes that count as progress within the stall time-out, as does a whole packet
LINGER_TIME = 10.0      # seconds that a peer whose connection was ended may take to read why


class Stalls:
    """Peers with a half sent packet or unread output; each has `timeout` seconds to finish, or to go on by PROGRESS bytes.

    A connection that speaks HTTP has the same time to begin its next request.  A peer whose connection was ended has
    LINGER_TIME to read why.  `look_due` is called when `look` is due.

    Owner: the dispatcher thread.
    """

    def __init__(self, timeout: float, deadlines: "Timers", look_due: "Callable[[], Any]") -> None:
        self.unfinished = {}   # type: Dict[Channel, None] # one dict for ever, as the server looks into it at each read
        self.timeout = timeout
        self._deadlines = deadlines
        self._look_due = look_due
        self._next_look = None  # type: Optional[List[Any]] # the timer

    def __repr__(self) -> str:
        return "<Stalls: %d unfinished>" % len(self.unfinished)

    def note(self, channel: "Channel", moved: int, now: float) -> None:
        """Something is half sent or unread, and has gone on by `moved` bytes."""
        if channel not in self.unfinished:
            self.begin(channel, now)
        else:
            channel.moved += moved

    def begin(self, channel: "Channel", now: float) -> None:
        """The time of a connection begins now."""
        self.unfinished[channel] = None
        channel.moved = 0
        channel.moved_at = now
        if self._next_look is None:
            self._next_look = self._deadlines.add(now + SWEEP_INTERVAL, self._look_due)

    def look(self, now: float) -> "Iterator[List[Channel]]":
        """Find those whose time is over: each step tells of some of them.  Plans the next look at the end."""
        everybody = list(self.unfinished)
        try:
            for first in range(0, len(everybody), STEP):
                yield [channel for channel in everybody[first:first + STEP]
                       if channel in self.unfinished and self._is_over(channel, now)]
        finally:
            self._next_look = self._deadlines.add(now + SWEEP_INTERVAL, self._look_due) if self.unfinished else None

    def _is_over(self, channel: "Channel", now: float) -> bool:
        limit = self.timeout
        if channel.state is LINGERING:
            limit = LINGER_TIME
        elif (channel.state is HELD_UP or channel.late
              or channel.http is not None and channel.http.serving and not channel.backlog):
            channel.moved_at = now  # it waits for us
        elif channel.http is None and not channel.reader.held and not channel.backlog:
            del self.unfinished[channel]
            return False
        elif channel.moved >= PROGRESS:
            channel.moved = 0
            channel.moved_at = now
        return now - channel.moved_at >= limit
