"""Connections that have something half sent or unread: which of them do not go on, and when to look."""
from .gate import NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List
    from .channel import Channel

SWEEP_INTERVAL = 5.0    # seconds between looks at peers that make no progress
PROGRESS = 65536        # bytes that count as progress within the stall time-out, as does a whole packet
LINGER_TIME = 10.0      # seconds that a peer whose connection was ended may take to read why


class Stalls:
    """Who has left a packet half sent, or output unread, and has `timeout` seconds to end that or to go on by PROGRESS bytes.

    A connection that speaks HTTP has as long to begin its next request.  Who was told the end has LINGER_TIME to read that.

    Owner: the dispatcher thread.
    """

    def __init__(self, timeout: float) -> None:
        self.unfinished = {}   # type: Dict[Channel, None] # one dict for ever, as the server looks into it at each read
        self.look_at = NEVER   # when `look` is due, monotonic seconds
        self.timeout = timeout

    def __repr__(self) -> str:
        return "<Stalls: %d unfinished>" % len(self.unfinished)

    def note(self, channel: "Channel", moved: int, now: float) -> None:
        """Something is half sent or unread, and has gone on by so many bytes."""
        if channel not in self.unfinished:
            self.begin(channel, now)
        else:
            channel.moved += moved

    def begin(self, channel: "Channel", now: float) -> None:
        """Its time begins now."""
        self.unfinished[channel] = None
        channel.moved = 0
        channel.moved_at = now
        self.look_at = min(self.look_at, now + SWEEP_INTERVAL)

    def look(self, now: float) -> "List[Channel]":
        """Those whose time is over."""
        over = []
        for channel in list(self.unfinished):
            limit = self.timeout
            if channel.ended and not channel.backlog:
                limit = LINGER_TIME
            elif channel.http is not None and channel.http.serving and not channel.backlog:
                channel.moved_at = now  # it waits for us
            elif channel.http is None and not channel.reader.held and not channel.backlog:
                del self.unfinished[channel]
                continue
            elif channel.moved >= PROGRESS:
                channel.moved = 0
                channel.moved_at = now
            if now - channel.moved_at >= limit:
                over.append(channel)
        self.look_at = now + SWEEP_INTERVAL if self.unfinished else NEVER
        return over
