"""One connection of a server: its socket, its Peer, its state, the bytes to be sent, and the packets to be obeyed.

    shaking hands ─agreed─> open ─refused─> closing ─sent─> lingering ─ended─> closed
                            open ─ended─> finishing ─sent─> closed
                            open ─unready─> held up ─ready─> open
    shaking hands ─lost─> closed
    open ─lost─> closed
    held up ─lost─> closed
    closing ─lost─> closed
    finishing ─lost─> closed
    lingering ─lost─> closed

Open: the peer is read from, obeyed and sent to.  Held up: the peer has asked for something that must wait until the store is
read, or until the store has what the peer waits for.
Closing: the server wants nothing more from the peer, which has not yet read why.
Lingering: the peer has been sent all that, and the end; what it still sends is received and ignored, because otherwise the
answer might be lost on its way.  Finishing: the peer sends nothing more, and gets the rest.  The core forgets a peer when it
leaves the states open and closing.  With TLS, shaking hands comes first (see the module tls).
"""
from collections import deque

from ..core.peers import PIECE_COST, Peer
from ..net.streams import end_connection
from ..wire.http import HTTPSession
from ..wire.protocol import LARGE_BODY, PacketReader
from .gate import NEVER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Sequence, Tuple
    from ..wire.protocol import Data, Packet

SEND_PIECES = 64   # pieces given to the system in one sendmsg

SHAKING, OPEN, HELD_UP, CLOSING, FINISHING, LINGERING, CLOSED = STATES = (
    "shaking hands", "open", "held up", "closing", "finishing", "lingering", "closed")

# What happens to a connection.  TLS is agreed on; the server is not ready for what the peer asks for, or ready again; the peer
# is refused, or sends nothing more; all is sent; the connection is lost by an error, or because its time is over.
AGREED, UNREADY, READY, REFUSED, ENDED, SENT, LOST = "agreed", "unready", "ready", "refused", "ended", "sent", "lost"

ARROWS = {
    (SHAKING, AGREED): OPEN, (SHAKING, LOST): CLOSED,
    (OPEN, UNREADY): HELD_UP, (HELD_UP, READY): OPEN, (HELD_UP, LOST): CLOSED,
    (OPEN, REFUSED): CLOSING, (OPEN, ENDED): FINISHING, (OPEN, LOST): CLOSED,
    (CLOSING, SENT): LINGERING, (CLOSING, LOST): CLOSED,
    (FINISHING, SENT): CLOSED, (FINISHING, LOST): CLOSED,
    (LINGERING, ENDED): CLOSED, (LINGERING, LOST): CLOSED,
}  # type: Dict[Tuple[str, str], str]

# Most channels have no packets waiting, so they share this.
_NO_PACKETS = []  # type: List[Packet]


class Channel:
    """One connection.

    If its reader is an HTTPSession, that also turns what the core sends into HTTP.

    Owner: the dispatcher thread.
    """

    __slots__ = ("socket", "send", "peer", "reader", "http", "waiting", "backlog", "backlog_size", "state", "moved", "moved_at",
                 "proved_until", "late", "_send_pieces")

    def __init__(self, connection: "Any", peer: Peer, reader: PacketReader) -> None:
        self.socket = connection
        self.send = connection.send
        self.peer = peer
        self.reader = reader
        self.http = reader if isinstance(reader, HTTPSession) else None
        peer.bulky = self.http is not None  # so that everything for it goes through `put`
        self.waiting = _NO_PACKETS  # packets that were read and not yet obeyed, the last one first
        self.backlog = deque()  # type: Deque[Data] # what the socket did not take at once
        self.backlog_size = 0   # bytes in backlog
        self.proved_until = NEVER  # when the backlog may not be sent any longer, monotonic seconds
        self.late = False       # it is too late for that, until it is proved anew
        self.state = OPEN       # changed by `move` alone
        self.moved = 0          # bytes of progress since moved_at, of a packet that is coming, or of a backlog that is sent
        self.moved_at = 0.0     # monotonic seconds
        self._send_pieces = getattr(connection, "sendmsg", None)  # Windows has none

    def __repr__(self) -> str:
        return "<Channel %r, %s, %d bytes half read, %d unsent>" % (
            self.peer, self.state, self.reader.held, self.backlog_size)

    def move(self, event: str) -> None:
        """Something has happened to the connection."""
        self.state = ARROWS[self.state, event]

    def wait(self, packets: "List[Packet]") -> None:
        """Keep packets for later turns; no others may be waiting."""
        self.waiting = packets[::-1]

    def put_back(self, packets: "List[Packet]") -> None:
        """Put back packets that were taken, before the others."""
        self.waiting += packets[::-1]

    def take(self, count: int) -> "List[Packet]":
        """Take at most `count` of the waiting packets, in their order."""
        packets = self.waiting[:-count - 1:-1]
        del self.waiting[-count:]
        return packets

    def put(self, pieces: "Sequence[Data]") -> None:
        """Add to the backlog; small pieces are joined up to the size of a large one; large ones are not copied."""
        if self.http is not None:
            pieces = self.http.respond(pieces)
            self.peer.closing = self.peer.closing or self.http.over
        size = sum(map(len, pieces))
        if size < LARGE_BODY:  # as of many small answers (benchmark: background submit)
            if size:
                self._put(b"".join(pieces))
            return
        small = []  # type: List[Data]
        size = 0
        for piece in pieces:
            if size + len(piece) < LARGE_BODY:
                size += len(piece)
                small.append(piece)
                continue
            if small:
                self._put(b"".join(small))
                small, size = [], 0
            if len(piece) < LARGE_BODY:
                small.append(piece)
                size = len(piece)
            else:
                self._put(piece)
        if small:
            self._put(b"".join(small))

    def _put(self, piece: "Data") -> None:
        self.backlog.append(piece)
        self.backlog_size += len(piece)

    def cost(self) -> int:
        """Bytes of memory that the backlog takes."""
        return self.backlog_size + PIECE_COST * len(self.backlog)

    def write(self) -> None:
        """Send as much of the backlog as the socket takes.

        Raises OSError if the connection is lost.
        """
        backlog = self.backlog
        try:
            while backlog:
                if len(backlog) == 1 or self._send_pieces is None:
                    sent = self.send(backlog[0])
                else:
                    sent = self._send_pieces([backlog[index] for index in range(min(len(backlog), SEND_PIECES))])
                self.backlog_size -= sent
                self.moved += sent
                while sent:
                    if sent < len(backlog[0]):
                        backlog[0] = memoryview(backlog[0])[sent:]
                        break
                    sent -= len(backlog.popleft())
        except (BlockingIOError, InterruptedError):
            return

    def close(self) -> None:
        """End the connection; nothing waits any longer, and what the core still sends goes nowhere."""
        self.send, self._send_pieces = len, None
        self.peer.channel = None  # so that no cycle of references is left for the collector, which runs rarely
        end_connection(self.socket)
        self.waiting = _NO_PACKETS
        self.backlog.clear()
        self.backlog_size = 0

    def leave(self) -> None:
        """Close this process's socket without telling the peer: the connection belongs to the parent process."""
        getattr(self.socket, "leave", self.socket.close)()


class SecureChannel(Channel):
    """A connection with TLS; the selector calls it, because TLS may have to send in order to receive, and the other way round.

    Owner: the dispatcher thread.
    """

    __slots__ = ("_serve",)

    def __init__(self, stream: "Any", peer: Peer, reader: PacketReader, serve: "Callable[[SecureChannel], None]") -> None:
        super().__init__(stream, peer, reader)
        self._serve = serve

    def __repr__(self) -> str:
        return "<Secure%s" % super().__repr__()[1:]

    def __call__(self, _: "Any") -> None:
        self._serve(self)
