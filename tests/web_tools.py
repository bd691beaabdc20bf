"""A browser's connection to a core, without a socket: requests in, responses out."""
import json

from gearman_std.core.peers import Peer
from gearman_std.core.rights import ALL_RIGHTS
from gearman_std.web.session import WebSession
from gearman_std.web.sharing import SharedAnswers

HOST = b"queue.example"


class Browser:
    """One connection; `turns` is how many turns the last answer took."""

    def __init__(self, world, rights=ALL_RIGHTS, shared=None, number=900):
        self.core = world.core
        self.session = WebSession(frozenset((HOST.decode(),)), shared or SharedAnswers())
        self.peer = Peer(number, b"127.0.0.1")
        self.core.connect(self.peer, rights)
        self.turns = 0

    def sends(self, data):
        """Send bytes; return the bytes that come back."""
        self.turns = 0
        packets = self.session.feed(data)
        if self.session.error is not None:
            self.core.refuse(self.peer, self.session.error)
        while packets:
            packets = self.core.receive(self.peer, packets)
            self.turns += 1
        answer = b"".join(self.session.respond(self.peer.outgoing))
        self.peer.outgoing.clear()
        self.core.unsent[:] = [peer for peer in self.core.unsent if peer is not self.peer]
        return answer

    def asks(self, first, *headers, body=b"", host=HOST):
        """The status, the headers by their names in small letters, and the body of the response."""
        lines = [first.encode() + b" HTTP/1.1", b"Host: " + host, b"Content-Length: %d" % len(body)]
        head, _, rest = self.sends(b"\r\n".join(lines + list(headers)) + b"\r\n\r\n" + body).partition(b"\r\n\r\n")
        status, *fields = head.split(b"\r\n")
        known = {name.lower().decode(): value.strip().decode() for name, _, value in (one.partition(b":") for one in fields)}
        if first.startswith("HEAD"):
            assert rest == b""
        elif known.get("transfer-encoding") == "chunked":
            rest = unchunked(rest)
        else:
            assert int(known["content-length"]) == len(rest)
        return int(status.split()[1]), known, rest

    def gets(self, path, status=200, **options):
        """The body of a page, which must exist."""
        got, headers, body = self.asks("GET " + path, **options)
        assert got == status, body
        return json.loads(body.decode()) if headers["content-type"] == "application/json" else body.decode()

    def orders(self, path, status=200, body=b""):
        """The answer to an order."""
        got, headers, answer = self.asks("POST " + path, b"X-Gearman-Steer: yes", body=body)
        assert got == status, answer
        return json.loads(answer.decode())["done"] if got == 200 else answer.decode()


def unchunked(data):
    """A body that came in chunks; the last chunk must be there."""
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        piece, data = data[:int(size, 16)], data[int(size, 16):]
        assert data.startswith(b"\r\n")
        body, data = body + piece, data[2:]
        if not piece:
            assert data == b""
            return body
