"""Where connections come in: the listeners of a server, which pause while there is no room for more."""
import errno
from selectors import EVENT_READ

from ..net.logs import own_logger

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional
    from ..timers import Timers
    from .access import PeerFacts
    from .listeners import Listener

_logger_gate = own_logger("gearman_std.server")

ACCEPT_PAUSE = 1.0   # seconds without accepting after file descriptors ran out
ACCEPT_COUNT = 64    # connections accepted in one round of the loop
NEVER = float("inf")  # monotonic seconds: the time of what is not planned

# Errors of one connection that accept reports, on Linux also those of the network: the next connection may be fine.
_LOST_BEFORE_ACCEPTED = frozenset(getattr(errno, name) for name in (
    "ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
    "EOPNOTSUPP", "ENETUNREACH", "ETIMEDOUT") if hasattr(errno, name))


def stop_watching(selector: "Any", thing: "Any") -> None:
    """Make a selector stop watching a socket, if it does: after a failure to change its events it has lost the socket already.

    A second try makes sure; otherwise the next socket with the same number could not be watched.
    """
    for _ in range(2):
        try:
            selector.unregister(thing)
            return
        except Exception as error:
            _logger_gate.debug("cannot take %r from what is watched: %r", thing, error)


class Gate:
    """The listeners of a server, which a selector watches.

    `welcome` is called with each connection, the facts about the peer, and the listener; `paused` whenever a pause begins.
    `clock` tells monotonic seconds; `deadlines` is the server's.

    Owner: the dispatcher thread.
    """

    def __init__(self, selector: "Any", listeners: "List[Listener]", welcome: "Callable[[Any, PeerFacts, Listener], None]",
                 paused: "Callable[[], None]", clock: "Callable[[], float]", deadlines: "Timers") -> None:
        self.listeners = listeners
        self._pause_end = None  # type: Optional[List[Any]] # the timer, None if there is no pause
        self._deadlines = deadlines
        self._selector = selector
        self._welcome = welcome
        self._tell_pause = paused
        self._clock = clock
        try:
            self._watch()
        except BaseException:
            for listener in listeners:
                listener.close()
            raise

    def __repr__(self) -> str:
        return "<Gate of %d listeners%s>" % (len(self.listeners), ", paused" if self.paused else "")

    @property
    def paused(self) -> bool:
        """Whether nothing is accepted for a while."""
        return self._pause_end is not None

    def pause(self) -> None:
        """Accept nothing for a while from now on: there is no room for more."""
        for listener in self.listeners:
            stop_watching(self._selector, listener.socket)
        self._end_pause()
        self._pause_end = self._deadlines.add(self._clock() + ACCEPT_PAUSE, self._pause_is_over)
        self._tell_pause()

    def open(self) -> None:
        """End a pause, if there is one."""
        if self._pause_end is not None:
            self._end_pause()
            self._watch_again()

    def _pause_is_over(self) -> None:
        self._pause_end = None
        self._watch_again()

    def _watch_again(self) -> None:
        try:
            self._watch()
        except Exception as error:  # there is no room even to watch them
            _logger_gate.warning("cannot accept connections, pausing again: %s", error)
            self.pause()

    def _end_pause(self) -> None:
        if self._pause_end is not None:
            self._deadlines.cancel(self._pause_end)
            self._pause_end = None

    def close(self) -> None:
        """Close all listeners."""
        for listener in self.hand_on():
            listener.close()

    def hand_on(self) -> "List[Listener]":
        """Accept nothing more, and return the listeners, which stay open: who connects waits until another gate has them."""
        for listener in self.listeners:
            stop_watching(self._selector, listener.socket)
        listeners, self.listeners = self.listeners, []
        self._end_pause()
        return listeners

    def leave(self) -> None:
        """Close this process's sockets: the listeners belong to the parent process."""
        for listener in self.listeners:
            listener.leave()
        self.listeners = []
        self._end_pause()

    def _watch(self) -> None:
        for listener in self.listeners:
            self._selector.register(listener.socket, EVENT_READ, self._on_accept)

    def _on_accept(self, listening: "Any") -> None:
        listener = next(one for one in self.listeners if one.socket is listening)
        for _ in range(ACCEPT_COUNT):
            if self._pause_end is not None:
                return  # there is no room, as this listener or another one has found
            try:
                connection, facts = listener.accept()
            except (BlockingIOError, InterruptedError):
                return
            except Exception as error:
                if isinstance(error, ConnectionAbortedError) or getattr(error, "errno", None) in _LOST_BEFORE_ACCEPTED:
                    _logger_gate.debug("lost a connection before it was accepted: %s", error)
                    continue
                # Out of file descriptors, or of memory: only a pause can help.
                _logger_gate.warning("cannot accept connections, pausing: %s", error)
                self.pause()
                return
            self._welcome(connection, facts, listener)
