"""What passes as a capture file, for programs that look at networks: each connection as TCP packets, made up but for the bytes.

The server's port is always 4730, at which Wireshark expects Gearman; the sums that TCP checks are left at 0, as a network card
that makes them leaves them.

Source: the file format of libpcap, RFC 791, RFC 8200 and RFC 9293.
"""
import socket
from struct import Struct, pack

from ..net.addresses import DEFAULT_PORT, split_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Tuple
    from .units import Chunk

_FILE_HEAD = pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, 262144, 101)  # version 2.4, UTC, packets begin with IP
_RECORD_HEAD = Struct("<IIII")
_TCP_HEAD = Struct(">HHIIBBHHH")
_MOST_PAYLOAD = 65000
_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_WINDOW = 65535


class _Stream:
    """One connection in the file.

    Owner: the Capture.
    """

    __slots__ = ("family", "hosts", "ports", "numbers", "over")

    def __init__(self, client: str, server: str, number: int) -> None:
        self.family, host, port = _find_host(client, 0, number)
        family, server_host, _ = _find_host(server, self.family, 0)
        if family != self.family:
            server_host = _numeric("127.0.0.1" if self.family == socket.AF_INET else "::1")[1]
        self.hosts = {True: host, False: server_host}  # by whether it is the client's end
        self.ports = {True: port, False: DEFAULT_PORT}
        self.numbers = {True: 0, False: 0}  # the next byte's
        self.over = False

    def __repr__(self) -> str:
        return "<_Stream of port %d>" % self.ports[True]


class Capture:
    """Writes a capture file with `write`, of what it is told as a `Tracer` is.

    Owner: the thread that runs the proxy.
    """

    def __init__(self, write: "Callable[[bytes], Any]") -> None:
        self._write = write
        self._streams = {}  # type: Dict[int, _Stream]
        write(_FILE_HEAD)

    def __repr__(self) -> str:
        return "<Capture of %d connections>" % len(self._streams)

    def opened(self, number: int, time: float, address: str, server: str) -> None:
        """A client has connected."""
        stream = self._streams[number] = _Stream(address, server, number)
        self._packet(stream, True, time, _SYN)
        stream.numbers[True] = 1
        self._packet(stream, False, time, _SYN | _ACK)
        stream.numbers[False] = 1
        self._packet(stream, True, time, _ACK)

    def failed(self, number: int, time: float, reason: str) -> None:
        """The server cannot be reached."""
        self.ended(number, False, time, True)

    def took(self, number: int, from_client: bool, time: float, data: "Chunk") -> None:
        """Bytes came from one end of a connection."""
        stream = self._streams[number]
        for start in range(0, len(data), _MOST_PAYLOAD):
            piece = data[start:start + _MOST_PAYLOAD]
            self._packet(stream, from_client, time, _PSH | _ACK, bytes(piece))
            stream.numbers[from_client] = (stream.numbers[from_client] + len(piece)) & 0xffffffff
        self._packet(stream, not from_client, time, _ACK)

    def ended(self, number: int, from_client: bool, time: float, reset: bool) -> None:
        """One end of a connection sends no more, or has broken it."""
        stream = self._streams[number]
        self._packet(stream, from_client, time, _RST | _ACK if reset else _FIN | _ACK)
        stream.over = stream.over or reset
        if not reset:
            stream.numbers[from_client] = (stream.numbers[from_client] + 1) & 0xffffffff
            self._packet(stream, not from_client, time, _ACK)

    def closed(self, number: int, time: float) -> None:
        """A connection is over."""
        del self._streams[number]

    def _packet(self, stream: _Stream, from_client: bool, time: float, flags: int, payload: bytes = b"") -> None:
        if stream.over:
            return
        acknowledged = stream.numbers[not from_client] if flags & _ACK else 0
        segment = _TCP_HEAD.pack(stream.ports[from_client], stream.ports[not from_client], stream.numbers[from_client],
                                 acknowledged, 0x50, flags, _WINDOW, 0, 0) + payload
        source, target = stream.hosts[from_client], stream.hosts[not from_client]
        if stream.family == socket.AF_INET:
            head = pack(">BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0x4000, 64, socket.IPPROTO_TCP, 0) + source + target
            packet = head[:10] + _checksum(head) + head[12:] + segment
        else:
            packet = pack(">IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64) + source + target + segment
        seconds = int(time)
        self._write(_RECORD_HEAD.pack(seconds, int((time - seconds) * 1000000), len(packet), len(packet)) + packet)


def _checksum(head: bytes) -> bytes:
    """The sum in the head of an IP packet."""
    total = sum(int.from_bytes(head[index:index + 2], "big") for index in range(0, len(head), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return pack(">H", ~total & 0xffff)


def _find_host(address: str, family: int, number: int) -> "Tuple[int, bytes, int]":
    """Family, address as bytes, and port; of a name, and of a Unix socket, the machine's own and a port made up of a number."""
    try:
        host, port = split_address(address)
        found, numeric = _numeric(host.partition("%")[0])
    except (OSError, ValueError):
        found, numeric = _numeric("::1" if family == socket.AF_INET6 else "127.0.0.1")
        port = 0
    return found, numeric, port or 10000 + number % 50000


def _numeric(host: str) -> "Tuple[int, bytes]":
    """Family and bytes of a numeric address.  Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.inet_pton(family, host)
