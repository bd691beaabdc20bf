"""The way in: an accepted connection is turned away, or agrees on TLS if needed and becomes a channel."""
from selectors import EVENT_READ

from ..core.peers import Peer
from ..core.results import replay
from ..core.turns import ASK
from ..net.logs import own_logger
from ..net.streams import TLSStream, end_connection
from ..web.session import WebSession
from ..web.sharing import SharedAnswers
from ..wire.http import pack_refusal
from ..wire.http_jobs import JobSession
from ..wire.protocol import ERROR, PacketReader, pack_response
from .access import Access, PeerFacts
from .channel import Channel, SecureChannel
from .gate import NEVER, Gate, stop_watching
from .listeners import JOBS, KNOWS_UIDS, WEB, Listener
from .tls import Handshakes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, FrozenSet, Iterator, List, Optional, Sequence
    from ..core.core import Core
    from ..timers import Timers
    from ..wire.protocol import Data, Packet
    from .channels import Channels
    from .faults import Faults
    from .listeners import Place
    from .tls import ServerTLS

_logger_entrance = own_logger("gearman_std.server")


def check_security(access: Access, tls: "Optional[ServerTLS]", places: "Sequence[Place]") -> None:
    """Raises ValueError if an address needs TLS settings that are missing, or an access list names what can never be known."""
    if tls is None and any(place.secure if isinstance(place, Listener) else place[1] for place in places):
        raise ValueError("to speak TLS, a certificate is needed")
    if access.certificate_names and (tls is None or not tls.checks_peers):
        raise ValueError("to allow something by certificate, TLS with a certificate authority is needed")
    if access.uids and not KNOWS_UIDS:
        raise ValueError("this system does not tell which user is at the other end of a Unix socket")


class Entrance:
    """Who may come in, and as what.

    It makes channels of connections to the server's listeners, but not if there are `max_connections` already, or if `access`
    lets the peer do nothing.  With `tls`, connections to a secure listener must first agree on it.  `web_names` are the names
    by which browsers may call this server.

    Owner: the dispatcher thread.
    """

    def __init__(self, core: "Core", channels: "Channels", faults: "Faults", access: Access, tls: "Optional[ServerTLS]",
                 max_connections: int, max_packet_size: int, max_line_size: int, web_names: "FrozenSet[str]") -> None:
        self.gate = None         # type: Any # these two from `open` to `close`
        self.handshakes = None   # type: Any
        self._core = core
        self._channels = channels
        self._faults = faults
        self._access = access
        self._tls = tls
        self._max_connections = max_connections or NEVER
        self._max_packet_size = max_packet_size
        self._max_line_size = max_line_size
        self._web_names = web_names
        self._shared_answers = SharedAnswers()

    def __repr__(self) -> str:
        return "<Entrance: %r, %r>" % (self.gate, self.handshakes)

    def open(self, selector: "Any", listeners: "List[Listener]", clock: "Callable[[], float]", deadlines: "Timers",
             handshake_timeout: float) -> None:
        """Let connections in."""
        self.handshakes = Handshakes(self._core, selector, clock, handshake_timeout, self._welcome_secure, self._no_tls,
                                     deadlines)
        self.gate = Gate(selector, listeners, self._on_connection, self._on_pause, clock, deadlines)
        self._channels.room_again = self.gate.open

    def close(self) -> None:
        """Close the listeners, and the connections that have not yet agreed on TLS."""
        for thing in (self.gate, self.handshakes):
            if thing is not None:
                thing.close()
        self.gate = self.handshakes = None

    def leave(self) -> None:
        """Close this process's sockets without telling the peers: they belong to the parent process."""
        for thing in (self.gate, self.handshakes):
            if thing is not None:
                thing.leave()
        self.gate = self.handshakes = None

    def agree(self) -> None:
        """Go on with some of the handshakes that can."""
        self._faults.surely(self.handshakes.go_on)

    def _on_connection(self, connection: "Any", facts: PeerFacts, listener: Listener) -> None:
        try:
            self._take_in(connection, facts, listener)
        except Exception:
            self._drop(connection, facts)

    def _take_in(self, connection: "Any", facts: PeerFacts, listener: Listener) -> None:
        if len(self._channels.all) + len(self.handshakes.open) >= self._max_connections:
            self._count("connections_refused")
            self._turn_away(connection, listener, b"TOO_MANY_CONNECTIONS", b"The server has no room for another connection")
        elif self._tls is not None and listener.secure:
            self.handshakes.begin(self._tls, connection, facts, listener)
        else:
            self.welcome(connection, facts, listener)

    def _on_pause(self) -> None:
        self._count("accept_pauses")

    def welcome(self, connection: "Any", facts: PeerFacts, listener: Listener) -> "Optional[Channel]":
        """Make a channel of a connection, if the peer may do anything; the selector does not watch its socket yet."""
        rights = self._access.rights(facts)
        if not rights:
            _logger_entrance.warning("turning away %r, which may do nothing", facts)
            self._count("connections_forbidden")
            self._turn_away(connection, listener, b"FORBIDDEN", b"Nothing is allowed to this connection")
            return None
        peer = Peer(connection.fileno(), facts.shown.encode() or b"unix")
        reader = self._make_reader(listener)
        channels = self._channels
        channel = (SecureChannel(connection, peer, reader, channels.serve_secure) if isinstance(connection, TLSStream)
                   else Channel(connection, peer, reader))
        peer.channel = channel
        try:
            channels.selector.register(connection, EVENT_READ, channel)
        except (OSError, ValueError) as error:
            _logger_entrance.warning("cannot watch another connection, pausing: %s", error)
            stop_watching(channels.selector, connection)
            end_connection(connection)
            self.gate.pause()
            return None
        try:
            channels.add(channel)
            self._count("connections_accepted")
            self._core.connect(peer, rights)
            if listener.http:
                channels.stalls.begin(channel, self._core.now)
        except Exception:
            channels.fault(channel)
            return None
        return channel

    def _make_reader(self, listener: Listener) -> PacketReader:
        """The reader for a connection, by the protocol that is spoken there."""
        if listener.http == WEB:
            return WebSession(self._web_names, self._shared_answers)
        if listener.http == JOBS:
            return JobSession(self._max_packet_size, self._keeps, _ask_for_result)
        return PacketReader(max_size=self._max_packet_size, max_line=self._max_line_size)

    def _keeps(self, function: bytes) -> bool:
        return bool(self._core.registry.policy_of(function).keep)

    def _turn_away(self, connection: "Any", listener: Listener, code: bytes, text: bytes) -> None:
        try:
            connection.send(pack_refusal(code, text) if listener.http else pack_response(ERROR, code, text))
        except OSError as error:
            _logger_entrance.debug("lost a connection that was turned away: %s", error)
        end_connection(connection)

    def _welcome_secure(self, stream: TLSStream, facts: PeerFacts, listener: Listener) -> None:
        try:
            channel = self.welcome(stream, facts, listener)
        except Exception:
            self._drop(stream, facts)
            return
        if channel is not None:
            self._channels.serve_surely(channel)  # it may have sent something already

    def _drop(self, connection: "Any", facts: PeerFacts) -> None:
        """An exception that nobody expected came while a connection was taken in."""
        self._faults.note("a fault of ours, dropping a connection from %r", facts)
        stop_watching(self._channels.selector, connection)  # or its number could not be watched again
        self._faults.surely(end_connection, connection)

    def _no_tls(self, facts: PeerFacts, reason: str) -> None:
        _logger_entrance.warning("no TLS with %s: %s", facts.shown, reason)
        self._count("tls_handshakes_failed")
        self.gate.open()  # there is room again

    def _count(self, name: str) -> None:
        self._core.counters[name] += 1


def _ask_for_result(handle: bytes) -> "List[Packet]":
    """The packets that ask how a job ended; like orders, they have to wait until the store is read."""
    def question(core: "Core", peer: Peer) -> "Iterator[Data]":
        return replay(core, peer, handle)
    return [(ASK, (question, True))]  # type: ignore[list-item]
