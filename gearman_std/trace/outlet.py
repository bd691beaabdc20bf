"""Where the lines of a trace go: somebody may read them slowly, or not at all, and what is traced goes on."""
import os
import select
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional

_PIECE = 4096           # bytes that a pipe takes at once if it takes any
_MOST_WAITING = 1 << 24  # bytes of lines that wait for a reader
_TRY_AGAIN = 0.02      # seconds after which it is tried again to write the rest


class Outlet:
    """Lines for a file, a pipe or a terminal, written with `write` as fast as that takes them without waiting.

    `descriptor` is what is written to, None if that never has to wait.  What is too much is left out, which a line tells.

    Owner: the thread that runs the proxy.
    """

    def __init__(self, write: "Callable[[bytes], Any]", descriptor: "Optional[int]" = None) -> None:
        self.left_out = 0  # records, all in all
        self._write = write
        self._ready = _make_probe(descriptor)
        self._pieces = []  # type: List[bytes]
        self._waiting = 0  # bytes
        self._gap = 0      # records that were left out since the last one that was not

    def __repr__(self) -> str:
        return "<Outlet, %d bytes waiting>" % self._waiting

    def put(self, text: str) -> None:
        """Take the lines of a record."""
        if self._waiting > _MOST_WAITING:
            self._gap += 1
            self.left_out += 1
            return
        if self._gap:
            text = "… %d records are left out, as nobody read them in time\n%s" % (self._gap, text)
            self._gap = 0
        piece = text.encode("utf-8", "backslashreplace")
        self._pieces.append(piece)
        self._waiting += len(piece)

    def flush(self) -> "Optional[float]":
        """Write what goes; return after how many seconds to try again, None if nothing is left."""
        if not self._waiting:
            return None
        data = b"".join(self._pieces)
        if self._ready is None:
            self._pieces, self._waiting = [], 0
            self._write(data)
            return None
        position = 0
        try:
            while position < len(data) and self._ready():
                piece = data[position:position + _PIECE]
                position += len(piece)
                self._write(piece)
        finally:
            rest = data[position:]
            self._pieces, self._waiting = [rest] if rest else [], len(rest)
        return _TRY_AGAIN if rest else None

    def close(self) -> None:
        """Write all that is left, however long that takes."""
        self._ready = None
        self.flush()


class TraceFile:
    """A file that a trace is written to until that fails, which `complain` is told once; what is traced goes on.

    `write` has to take all that it is given.

    Owner: the thread that runs the proxy.
    """

    def __init__(self, name: str, write: "Callable[[Any], Any]", complain: "Callable[[str], None]",
                 close: "Callable[[], Any]" = lambda: None) -> None:
        self.failed = False
        self._name = name
        self._write = write
        self._complain = complain
        self._close = close

    def __repr__(self) -> str:
        return "<TraceFile %s%s>" % (self._name, ", failed" if self.failed else "")

    def write(self, data: "Any") -> None:
        """Write, unless that was impossible before."""
        if not self.failed:
            self._try(lambda: self._write(data))

    def close(self) -> None:
        """Write what is left, and close it."""
        self._try(self._close)

    def _try(self, action: "Callable[[], Any]") -> None:
        try:
            action()
        except OSError as error:
            if not self.failed:
                self.failed = True
                self._complain("cannot write to %s, and goes on without: %s" % (
                    self._name, os.strerror(error.errno) if error.errno else error))


def _make_probe(descriptor: "Optional[int]") -> "Optional[Callable[[], bool]]":
    """What tells whether something can be written without waiting, None if that is always so."""
    if descriptor is None or not hasattr(select, "poll") or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return lambda: bool(poller.poll(0))
