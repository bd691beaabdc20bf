"""TLS on the server's side: certificates that can be read again, and handshakes that hold up nobody."""
from collections import deque
from selectors import EVENT_READ, EVENT_WRITE

from ..net.streams import TLSStream, certificate_error, end_connection
from .access import PeerFacts, names_in_certificate
from .channel import AGREED, ARROWS, LOST, SHAKING
from .gate import stop_watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, List, Optional
    from ..core.core import Core
    from ..timers import Timers

HANDSHAKE_TIME = 0.004  # seconds for all handshakes in one round of the server's loop; the last one may take longer

_TLS_KEYS = ("certificate", "key", "ca", "required")


class ServerTLS:
    """The certificate that a server shows, and the authorities it trusts; the rest is as the standard library has it.

    `settings` is a dict with "certificate" (a file, with the whole chain), "key" (another file, if the key is not in the same),
    "ca" (a file of certificate authorities: peers are asked for a certificate, which must be one of theirs) and "required"
    (True turns away peers without one); or an `ssl.SSLContext`, whose owner looks after it.  Raises ValueError for settings
    that make no sense and OSError for files that cannot be used.

    Owner: the dispatcher thread.
    """

    def __init__(self, settings: "Any") -> None:
        self._settings = settings
        self._context = self._load()

    def __repr__(self) -> str:
        return "<ServerTLS %r%s>" % (self._settings, ", asks for certificates" if self.checks_peers else "")

    @property
    def checks_peers(self) -> bool:
        """Whether peers are asked for a certificate."""
        return bool(self._context.verify_mode)

    def reload(self) -> None:
        """Read the files again for later connections.  If it raises OSError, the old ones stay in use."""
        self._context = self._load()

    def wrap(self, connected: "Any") -> TLSStream:
        """A stream over a connected socket, before its handshake.  Raises OSError."""
        return TLSStream(self._context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False))

    def _load(self) -> "Any":
        import ssl
        settings = self._settings
        if isinstance(settings, ssl.SSLContext):
            return settings
        if not isinstance(settings, dict):
            raise ValueError("TLS settings are a dict or an SSLContext, not %r" % (settings,))
        unknown = sorted(set(settings) - set(_TLS_KEYS))
        if unknown:
            raise ValueError("not a TLS setting: %s" % ", ".join(unknown))
        certificate, ca = settings.get("certificate"), settings.get("ca")
        if not certificate:
            raise ValueError("a server with TLS needs a certificate")
        if settings.get("required") and not ca:
            raise ValueError("certificates of peers cannot be required without an authority to check them")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        asked = []  # type: List[bool]

        def have_no_password() -> str:  # instead of asking at a terminal that may not be there
            asked.append(True)
            return ""
        path = certificate
        try:
            context.load_cert_chain(certificate, settings.get("key"), have_no_password)
            if ca:
                path = ca
                context.load_verify_locations(ca)
        except OSError as error:
            raise certificate_error(error, path, "its key is encrypted" if asked else "") from None
        if ca:
            context.verify_mode = ssl.CERT_REQUIRED if settings.get("required") else ssl.CERT_OPTIONAL
        return context


class Handshakes:
    """The connections that have not yet agreed on TLS, each for at most `timeout` seconds.

    `done` is called with the stream, which the selector no longer watches, the facts about the peer, and the listener; `failed`
    with the facts known before, and the reason.  `deadlines` is the server's.  A handshake costs a millisecond or more, so
    those that can go on wait in `ready`, where the selector does not see them, and only some go on in one round of the server's
    loop.  One that has sent nothing has no TLS yet, which takes tens of kilobytes.

    Owner: the dispatcher thread.
    """

    def __init__(self, core: "Core", selector: "Any", clock: "Callable[[], float]", timeout: float,
                 done: "Callable[[TLSStream, PeerFacts, Any], None]", failed: "Callable[[PeerFacts, str], None]",
                 deadlines: "Timers") -> None:
        self.open = {}        # type: Dict[_Handshake, None]
        self.ready = deque()  # type: Deque[_Handshake] # who can go on, or is closed already; always the same deque
        self._core = core
        self._clock = clock
        self._selector = selector
        self._timeout = timeout
        self._done = done
        self._failed = failed
        self._deadlines = deadlines

    def __repr__(self) -> str:
        return "<Handshakes, %d open>" % len(self.open)

    def begin(self, tls: ServerTLS, connected: "Any", facts: PeerFacts, listener: "Any") -> None:
        """Take in a connected socket of a listener."""
        handshake = _Handshake(tls, connected, facts, listener, self)
        self.open[handshake] = None
        handshake.timer = self._deadlines.add(self._core.now + self._timeout, handshake.give_up)
        self._watch(handshake, EVENT_READ)

    def can_go_on(self, handshake: "_Handshake") -> None:
        """The selector says so: it waits for its turn, and is not watched meanwhile."""
        self._watch_no_longer(handshake)
        self.ready.append(handshake)

    def go_on(self) -> None:
        """Give a turn to those that can go on, for a while at most."""
        end = self._clock() + HANDSHAKE_TIME
        while self.ready:
            handshake = self.ready.popleft()
            if handshake.state is SHAKING:
                self._proceed(handshake)
            if self._clock() >= end:
                return

    def _proceed(self, handshake: "_Handshake") -> None:
        """Go as far as the socket allows."""
        try:
            if handshake.tls is not None:
                handshake.stream, handshake.tls = handshake.tls.wrap(handshake.stream), None
            stream = handshake.stream
            try:
                stream.do_handshake()
            except BlockingIOError:
                self._watch(handshake, EVENT_WRITE if stream.receive_waits_to_send else EVENT_READ)
                return
            known = handshake.facts
            facts = PeerFacts(known.shown, known.uid, names_in_certificate(stream.getpeercert()))
        except Exception as error:  # such as ValueError for a certificate that cannot be shown
            self._fail(handshake, _reason(error))
            return
        self._leave(handshake, AGREED)
        self._done(stream, facts, handshake.listener)

    def _watch(self, handshake: "_Handshake", events: int) -> None:
        handshake.watched = True  # also if this fails, as it may have been half done
        try:
            self._selector.register(handshake.stream, events, handshake)
        except Exception as error:  # such as OSError when the system watches no more sockets for this process
            self._fail(handshake, _reason(error))

    def _watch_no_longer(self, handshake: "_Handshake") -> None:
        if handshake.watched:
            handshake.watched = False
            stop_watching(self._selector, handshake.stream)

    def give_up(self, handshake: "_Handshake") -> None:
        """The time of a handshake is over."""
        self._fail(handshake, "nothing agreed after %g s" % self._timeout)

    def close(self) -> None:
        """Close all."""
        for handshake in self.open:
            end_connection(handshake.stream)
        self._let_go()

    def leave(self) -> None:
        """Close this process's sockets without telling the peers: the connections belong to the parent process."""
        for handshake in self.open:
            getattr(handshake.stream, "leave", handshake.stream.close)()
        self._let_go()

    def _let_go(self) -> None:
        self.open.clear()
        self.ready.clear()

    def _fail(self, handshake: "_Handshake", reason: str) -> None:
        self._leave(handshake, LOST)
        end_connection(handshake.stream)
        self._failed(handshake.facts, reason)

    def _leave(self, handshake: "_Handshake", event: str) -> None:
        handshake.state = ARROWS[handshake.state, event]
        del self.open[handshake]
        if handshake.timer is not None:
            self._deadlines.cancel(handshake.timer)
        self._watch_no_longer(handshake)


def _reason(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error) or repr(error)


class _Handshake:
    """One of the Handshakes; the selector calls it.  `stream` is a plain socket as long as it has `tls`, with which it begins.

    Owner: the dispatcher thread.
    """

    __slots__ = ("state", "tls", "stream", "facts", "listener", "timer", "watched", "_handshakes")

    def __init__(self, tls: ServerTLS, connected: "Any", facts: PeerFacts, listener: "Any", handshakes: Handshakes) -> None:
        self.state = SHAKING
        self.tls = tls  # type: Optional[ServerTLS]
        self.stream = connected
        self.facts = facts
        self.listener = listener
        self.timer = None  # type: Optional[List[Any]] # of its end for want of time
        self.watched = False  # by the selector
        self._handshakes = handshakes

    def __repr__(self) -> str:
        return "<_Handshake with %r>" % (self.facts,)

    def __call__(self, _: "Any") -> None:
        self._handshakes.can_go_on(self)

    def give_up(self) -> None:
        """Its time is over."""
        self.timer = None
        self._handshakes.give_up(self)
