"""A recording played again: a server is sent what clients and workers sent, and its answers are compared with the recording."""
from collections import deque
from struct import Struct

from ..errors import ProtocolError, ServerLost
from ..wire.protocol import HEADER_SIZE, JOB_CREATED, NOOP, PACKETS, packet_name
from .records import CONNECTS, EVENT, OVER, RESETS, TraceRecord, plain_text
from .units import PACKET, Unit, UnitReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Iterable, Optional

_LONGEST_GAP = 0.1     # seconds between two records, even if they were farther apart
_SHORTEST_GAP = 0.005  # seconds between records of two connections, so that the server takes them in this order
_SHOWN_OF_ANSWERS = 200  # bytes
_KEPT_OF_ANSWERS = 1 << 30
_HEADER_OF_PACKET = Struct(">4sII")
_LEADING_HANDLE = frozenset(number for number, (_, _, names) in PACKETS.items() if names and names[0] == "handle")
_TELLS_HANDLE = frozenset(number for number in _LEADING_HANDLE if number == JOB_CREATED or "function" in PACKETS[number][2])


class ReplayedHandles:
    """The handles of the recording, and the handles of the same jobs in the replay.

    Owner: the replay.
    """

    def __init__(self) -> None:
        self._now = {}  # type: Dict[bytes, bytes]

    def __repr__(self) -> str:
        return "<ReplayedHandles of %d jobs>" % len(self._now)

    def learn(self, old: bytes, new: bytes) -> None:
        """Learn a handle from two packets, the recorded one and today's, if they tell the handle of a job."""
        old_type, new_type = _type_of(old), _type_of(new)
        if old_type == new_type and new_type in _TELLS_HANDLE:
            self._now[_first_argument(old)] = _first_argument(new)

    def translate(self, data: bytes) -> bytes:
        """Bytes of the recording with today's handles: in a packet, its first argument; in text, anywhere."""
        if _type_of(data) in _LEADING_HANDLE:
            handle = _first_argument(data)
            return _with_first_argument(data, self._now.get(handle, handle))
        if data[:1] == b"\0":
            return data
        for old in sorted(self._now, key=len, reverse=True):
            data = data.replace(old, self._now[old])
        return data


class _Speaker:
    """One connection of the replay, and the answers that were not compared yet.

    Owner: the replay.
    """

    def __init__(self, connection: "Any") -> None:
        self.connection = connection
        self.units = deque()  # type: Deque[Unit]
        self.over = False
        self._reader = UnitReader(False, _KEPT_OF_ANSWERS, deque())

    def __repr__(self) -> str:
        return "<_Speaker, %d answers>" % len(self.units)

    def say(self, data: bytes, patience: float) -> None:
        """Send bytes, and receive answers meanwhile, as a server may read on only when its answers are read.

        Raises ServerLost, also if the server takes and sends nothing for `patience` seconds.
        """
        self.connection.put(data)
        while not self.connection.flush():
            if not self.connection.wait(patience):
                raise ServerLost("the server took nothing for %s s" % patience)
            self._receive()
            if self.over:
                raise ServerLost("the server ended the connection")

    def _receive(self) -> bool:
        """Receive what has come; return whether there was anything, if only the end."""
        try:
            self.connection.flush()
            received = self.connection.receive()
        except ServerLost:
            self.over = True
            self.units += self._reader.end()
            return True
        if received is not None:
            self.units += self._reader.feed(received)
        return received is not None

    def listen(self, patience: float) -> "Optional[Unit]":
        """The next answer; None if none comes within `patience` seconds, or if the connection is over."""
        while not self.units and not self.over:
            if not self._receive() and not self.connection.wait(patience):
                return None
        return self.units.popleft() if self.units else None


class Replay:
    """Plays records over connections that `connect` opens, and calls `tell` with a text for each difference.

    An answer may take `patience` seconds; `pause` sleeps.

    Owner: whoever runs it.
    """

    def __init__(self, connect: "Callable[[], Any]", tell: "Callable[[str], None]", pause: "Callable[[float], None]",
                 patience: float) -> None:
        self.differences = 0
        self._connect = connect
        self._tell = tell
        self._pause = pause
        self._patience = patience
        self._handles = ReplayedHandles()
        self._speakers = {}  # type: Dict[int, _Speaker]
        self._last = None    # type: Optional[TraceRecord]

    def __repr__(self) -> str:
        return "<Replay, %d differences>" % self.differences

    def play(self, records: "Iterable[TraceRecord]") -> None:
        """Play all records.  Raises NoServer, and ProtocolError for a record that lacks some of its bytes."""
        try:
            for record in records:
                if record.kind == EVENT:
                    self._happen(record)
                elif record.from_client:
                    self._send(record)
                else:
                    self._compare(record)
                self._last = record
            for number in list(self._speakers):
                self._close(number)
        finally:
            for speaker in self._speakers.values():
                speaker.connection.close()

    def _happen(self, record: TraceRecord) -> None:
        if record.name == CONNECTS:
            self._speaker(record.connection)
        elif record.name == OVER or record.name == RESETS and record.from_client:
            self._close(record.connection)

    def _speaker(self, number: int) -> _Speaker:
        if number not in self._speakers:
            self._speakers[number] = _Speaker(self._connect())
        return self._speakers[number]

    def _close(self, number: int) -> None:
        """Close a connection.  Each answer on it that is not in the recording is a difference."""
        speaker = self._speakers.pop(number, None)
        if speaker is None:
            return
        try:
            while True:
                unit = speaker.listen(0.0)
                if unit is None:
                    break
                self._differ("connection %d, at its end: expected nothing, came %s" % (number, _show_unit(unit)))
        finally:
            speaker.connection.close()

    def _send(self, record: TraceRecord) -> None:
        _check_whole(record)
        last = self._last
        if last is not None:
            gap = min(max(0.0, record.time - last.time), _LONGEST_GAP)
            self._pause(max(gap, _SHORTEST_GAP) if last.connection != record.connection else gap)
        try:
            self._speaker(record.connection).say(self._handles.translate(record.data), self._patience)
        except ServerLost as error:
            self._differ("record %d: %s cannot be sent: %s" % (record.number, record.name, error))

    def _compare(self, record: TraceRecord) -> None:
        _check_whole(record)
        speaker = self._speaker(record.connection)
        old_type = _type_of(record.data)
        unit = speaker.listen(self._patience)
        while unit is not None and _type_of(unit.data) == NOOP and old_type != NOOP:
            self._differ("record %d: one more NOOP, before %s" % (record.number, record.name))
            unit = speaker.listen(self._patience)
        if unit is not None and old_type == NOOP and _type_of(unit.data) != NOOP:
            speaker.units.appendleft(unit)
            self._differ("record %d: no NOOP" % record.number)
            return
        if unit is None:
            self._differ("record %d: expected %s, came %s" % (
                record.number, _show_unit(_unit_of(record)), "the end" if speaker.over else "nothing in %s s" % self._patience))
            return
        self._handles.learn(record.data, unit.data)
        expected = self._handles.translate(record.data)
        if expected != unit.data:
            self._differ("record %d: expected %s, came %s" % (
                record.number, _show_unit(Unit(record.kind, expected, len(expected), True)), _show_unit(unit)))

    def _differ(self, words: str) -> None:
        self.differences += 1
        self._tell(words)


def _check_whole(record: TraceRecord) -> None:
    if len(record.data) < record.size:
        raise ProtocolError("record %d has %d bytes of %d; record with a larger --keep" % (
            record.number, len(record.data), record.size))


def _type_of(data: bytes) -> int:
    """The type of a packet; 0 for what is not a packet."""
    return int.from_bytes(data[4:8], "big") if data[:1] == b"\0" and len(data) >= HEADER_SIZE else 0


def _first_argument(data: bytes) -> bytes:
    return data[HEADER_SIZE:].partition(b"\0")[0]


def _with_first_argument(data: bytes, argument: bytes) -> bytes:
    _, nul, rest = data[HEADER_SIZE:].partition(b"\0")
    body = argument + nul + rest
    magic, packet_type, _ = _HEADER_OF_PACKET.unpack_from(data)
    return _HEADER_OF_PACKET.pack(magic, packet_type, len(body)) + body


def _unit_of(record: TraceRecord) -> Unit:
    return Unit(record.kind, record.data, record.size, True)


def _show_unit(unit: Unit) -> str:
    """An answer as text."""
    data = unit.data
    if unit.kind == PACKET and len(data) >= HEADER_SIZE:
        shown = plain_text(data[HEADER_SIZE:HEADER_SIZE + _SHOWN_OF_ANSWERS].replace(b"\0", b" "))
        return ("%s %s" % (packet_name(_type_of(data)), shown)).rstrip()
    return plain_text(data[:_SHOWN_OF_ANSWERS])
