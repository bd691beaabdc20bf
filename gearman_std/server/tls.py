"""TLS on the server's side: certificates that can be read again, and handshakes that hold up nobody."""
from selectors import EVENT_READ, EVENT_WRITE

from ..net.streams import TLSStream, certificate_error, end_connection
from .access import PeerFacts, names_in_certificate
from .channel import AGREED, ARROWS, LOST, SHAKING
from .gate import stop_watching

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional
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
    with the facts known before, and the reason.  `deadlines` is the server's.  A handshake costs a millisecond or more, so that
    only some go on in one round of the server's loop; a round is the time during which `core.now` stays the same.

    Owner: the dispatcher thread.
    """

    def __init__(self, core: "Core", selector: "Any", clock: "Callable[[], float]", timeout: float,
                 done: "Callable[[TLSStream, PeerFacts, Any], None]", failed: "Callable[[PeerFacts, str], None]",
                 deadlines: "Timers") -> None:
        self.open = {}  # type: Dict[_Handshake, None]
        self._core = core
        self._clock = clock
        self._round = core.now  # the last round in which any of them went on
        self._left = HANDSHAKE_TIME  # seconds that are left for them in that round
        self._selector = selector
        self._timeout = timeout
        self._done = done
        self._failed = failed
        self._deadlines = deadlines

    def __repr__(self) -> str:
        return "<Handshakes, %d open>" % len(self.open)

    def begin(self, tls: ServerTLS, connected: "Any", facts: PeerFacts, listener: "Any") -> None:
        """Take in a connected socket of a listener; its handshake may be done, or have failed, at once."""
        try:
            stream = tls.wrap(connected)
        except Exception as error:
            end_connection(connected)
            self._failed(facts, getattr(error, "strerror", None) or repr(error))
            return
        handshake = _Handshake(stream, facts, listener, self)
        try:
            self._selector.register(stream, EVENT_READ, handshake)
        except Exception as error:  # such as OSError when the system watches no more sockets for this process
            stop_watching(self._selector, stream)
            end_connection(stream)
            self._failed(facts, str(error))
            return
        self.open[handshake] = None
        handshake.timer = self._deadlines.add(self._core.now + self._timeout, handshake.give_up)
        self.proceed(handshake)

    def proceed(self, handshake: "_Handshake") -> None:
        """Go as far as the socket allows; or wait for a later round, in which the selector reports the socket again."""
        if self._round != self._core.now:
            self._round, self._left = self._core.now, HANDSHAKE_TIME
        if self._left > 0:
            begun = self._clock()
            self._proceed(handshake)
            self._left -= self._clock() - begun

    def _proceed(self, handshake: "_Handshake") -> None:
        stream = handshake.stream
        try:
            try:
                stream.do_handshake()
            except BlockingIOError:
                self._selector.modify(stream, EVENT_WRITE if stream.receive_waits_to_send else EVENT_READ, handshake)
                return
            known = handshake.facts
            facts = PeerFacts(known.shown, known.uid, names_in_certificate(stream.getpeercert()))
        except Exception as error:  # such as ValueError for a certificate that cannot be shown
            self._fail(handshake, getattr(error, "reason", None) or str(error) or repr(error))
            return
        self._leave(handshake, AGREED)
        self._done(stream, facts, handshake.listener)

    def give_up(self, handshake: "_Handshake") -> None:
        """The time of a handshake is over."""
        self._fail(handshake, "nothing agreed after %g s" % self._timeout)

    def close(self) -> None:
        """Close all."""
        for handshake in self.open:
            end_connection(handshake.stream)
        self.open.clear()

    def leave(self) -> None:
        """Close this process's sockets without telling the peers: the connections belong to the parent process."""
        for handshake in self.open:
            handshake.stream.leave()
        self.open.clear()

    def _fail(self, handshake: "_Handshake", reason: str) -> None:
        self._leave(handshake, LOST)
        end_connection(handshake.stream)
        self._failed(handshake.facts, reason)

    def _leave(self, handshake: "_Handshake", event: str) -> None:
        handshake.state = ARROWS[handshake.state, event]
        del self.open[handshake]
        if handshake.timer is not None:
            self._deadlines.cancel(handshake.timer)
        stop_watching(self._selector, handshake.stream)


class _Handshake:
    """One of the Handshakes; the selector calls it.

    Owner: the dispatcher thread.
    """

    __slots__ = ("state", "stream", "facts", "listener", "timer", "_handshakes")

    def __init__(self, stream: TLSStream, facts: PeerFacts, listener: "Any", handshakes: Handshakes) -> None:
        self.state = SHAKING
        self.stream = stream
        self.facts = facts
        self.listener = listener
        self.timer = None  # type: Optional[List[Any]] # of its end for want of time
        self._handshakes = handshakes

    def __repr__(self) -> str:
        return "<_Handshake with %r>" % (self.facts,)

    def __call__(self, _: "Any") -> None:
        self._handshakes.proceed(self)

    def give_up(self) -> None:
        """Its time is over."""
        self.timer = None
        self._handshakes.give_up(self)
