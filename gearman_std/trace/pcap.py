"""What passes, as a capture file for Wireshark and its like.  The TCP packets are made up; the bytes in them are real.

The server's port is always 4730, where Wireshark expects Gearman.  The TCP checksums are 0, as in captures on a machine whose
network card computes them.

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
        self.hosts = {True: host, False: server_host}  # True: the client's end
        self.ports = {True: port, False: DEFAULT_PORT}
        self.numbers = {True: 0, False: 0}  # the sequence number of the next byte
        self.over = False

    def __repr__(self) -> str:
        return "<_Stream of port %d>" % self.ports[True]


class Capture:
    """Writes a capture file with `write`.  It has the methods of `Tracer`, and is told the same.

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
    """The checksum of the head of an IP packet."""
    total = sum(int.from_bytes(head[index:index + 2], "big") for index in range(0, len(head), 2))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return pack(">H", ~total & 0xffff)


def _find_host(address: str, family: int, number: int) -> "Tuple[int, bytes, int]":
    """The family of an address, the address as bytes, and its port.  A name or a Unix socket gives an address of this machine;
    a missing port is made up from a number."""
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
