"""Where the lines of a trace go.  A reader that is slow, or reads nothing at all, does not hold up what is traced."""
import os
import select
import stat
from collections import deque

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Optional, Union

_PIECE = 4096           # bytes that a pipe takes at once if it takes any
_MOST_WAITING = 1 << 24  # bytes of lines that may wait for a reader
_TRY_AGAIN = 0.02      # seconds until the next try to write the rest


def show_gap_in_words(count: int) -> str:
    """The line that stands for records that were left out."""
    return "… %d records are left out, because nobody read them in time\n" % count


class Outlet:
    """Writes lines to a file, a pipe or a terminal with `write`, as fast as that takes them without waiting.

    `descriptor` is the file's; None means that `write` never has to wait.  If too many lines wait, further records are left
    out; a line that `show_gap` makes tells how many.

    Owner: the thread that runs the proxy.
    """

    def __init__(self, write: "Callable[[bytes], Any]", descriptor: "Optional[int]" = None,
                 show_gap: "Callable[[int], str]" = show_gap_in_words) -> None:
        self.left_out = 0  # records, all in all
        self._write = write
        self._show_gap = show_gap
        self._ready = _make_probe(descriptor)
        self._pieces = deque()  # type: Deque[Union[bytes, memoryview]]
        self._waiting = 0  # bytes
        self._gap = 0      # records that were left out since the last one that was not

    def __repr__(self) -> str:
        return "<Outlet, %d bytes waiting>" % self._waiting

    def put(self, text: str) -> None:
        """Write the lines of a record, now or later."""
        if self._waiting > _MOST_WAITING:
            self.flush()
        if self._waiting > _MOST_WAITING:
            self._gap += 1
            self.left_out += 1
            return
        self._tell_gap()
        self._add(text)

    def flush(self) -> "Optional[float]":
        """Write what can be written without waiting; return in how many seconds to call again, None if nothing is left."""
        if self._ready is None:
            if self._waiting:
                data = b"".join(self._pieces)
                self._pieces.clear()
                self._waiting = 0
                self._write(data)
            return None
        while self._waiting and self._ready():
            self._write(self._take_piece())
        return _TRY_AGAIN if self._waiting else None

    def close(self) -> None:
        """Write all that is left, however long that takes."""
        self._tell_gap()
        self._ready = None
        self.flush()

    def _tell_gap(self) -> None:
        if self._gap:
            self._add(self._show_gap(self._gap))
            self._gap = 0

    def _add(self, text: str) -> None:
        piece = text.encode("utf-8", "backslashreplace")
        self._pieces.append(piece)
        self._waiting += len(piece)

    def _take_piece(self) -> bytes:
        """Take as many of the waiting bytes as can be written without waiting."""
        taken, room = [], _PIECE
        while room and self._pieces:
            piece = self._pieces.popleft()
            if len(piece) > room:
                self._pieces.appendleft(memoryview(piece)[room:])
                piece = piece[:room]
            taken.append(piece)
            room -= len(piece)
        self._waiting -= _PIECE - room
        return b"".join(taken)


class TraceFile:
    """A file that a trace is written to.  After a failure nothing more is written; `complain` is told once.

    `write` must take all bytes that it is given.

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
        """Write, unless a write has failed before."""
        if not self.failed:
            self._try(lambda: self._write(data))

    def close(self) -> None:
        """Write what is left, and close the file."""
        self._try(self._close)

    def _try(self, action: "Callable[[], Any]") -> None:
        try:
            action()
        except OSError as error:
            if not self.failed:
                self.failed = True
                self._complain("cannot write to %s, and goes on without it: %s" % (
                    self._name, os.strerror(error.errno) if error.errno else error))


def _make_probe(descriptor: "Optional[int]") -> "Optional[Callable[[], bool]]":
    """A function that tells whether something can be written without waiting; None if that is always so."""
    if descriptor is None or not hasattr(select, "poll") or stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    return lambda: bool(poller.poll(0))
