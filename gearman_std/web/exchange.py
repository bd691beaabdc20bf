"""A request as those see it who answer it, and an answer."""
from ..wire.http import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterable, Iterator, List, Tuple

LIMIT, MOST = 100, 1000  # entries of a listing, if the request does not say, and at most
PIECE_SIZE = 16384       # bytes after which the next piece of a body begins


class WebRequest:
    """What is asked for: the parts of the path, and the values of the query, all of them text, in which a byte that is no UTF-8
    stands as a lone surrogate.

    Owner: the WebSession.
    """

    __slots__ = ("parts", "query", "accept")

    def __init__(self, target: bytes) -> None:
        from urllib.parse import unquote
        path, _, query = target.partition(b"?")
        self.parts = [unquote(part, errors="surrogateescape") for part in path.decode("latin-1").split("/")[1:]]
        self.query = {}  # type: Dict[str, str]
        self.accept = b""
        if query:
            self.read(query)

    def __repr__(self) -> str:
        return "<WebRequest of %s>" % self.shown

    @property
    def shown(self) -> str:
        """The path, for people."""
        return "/" + "/".join(self.parts)

    def read(self, query: bytes) -> None:
        """Take the values of a query, or of a form."""
        from urllib.parse import parse_qsl
        self.query.update(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))

    def number(self, name: str, usual: int, most: int) -> int:
        """A value of the query that is a number from 1 on; the error for another one says so."""
        text = self.query.get(name, "")
        if not text:
            return usual
        if len(text) > 10 or not as_bytes(text).isdigit() or not 0 < int(text) <= most:
            raise refused(400, "%s is %.40r, not a number from 1 to %d" % (name, text, most))
        return int(text)

    def one_of(self, name: str, *choices: str) -> str:
        """A value of the query that is one of some, by default the first."""
        text = self.query.get(name) or choices[0]
        if text not in choices:
            raise refused(400, "%s is %.40r, not one of %s" % (name, text, ", ".join(filter(None, choices))))
        return text

    def bytes_of(self, name: str) -> bytes:
        """A value of the query as bytes, empty if there is none."""
        return as_bytes(self.query.get(name, ""))

    def only(self, *names: str) -> None:
        """Refuse a query with other values than these."""
        for name in self.query:
            if name not in names:
                raise refused(400, "there is no %.40r to ask for here%s" % (
                    name, ", only " + ", ".join(names) if names else ", nor anything else"))


def as_bytes(text: str) -> bytes:
    """The bytes that a part of a path or a value of a query stands for."""
    return text.encode("utf-8", "surrogateescape")


class Answer:
    """A status, the type of the body, and its pieces, of which an empty one only ends a step.

    Owner: the WebSession.
    """

    __slots__ = ("status", "content_type", "pieces")

    def __init__(self, pieces: "Iterable[bytes]", content_type: bytes, status: int = 200) -> None:
        self.pieces = pieces
        self.content_type = content_type
        self.status = status

    def __repr__(self) -> str:
        return "<Answer %d %s>" % (self.status, self.content_type.decode())

    def fields(self) -> "List[Tuple[bytes, bytes]]":
        """The headers of the response that are its own."""
        return [(b"Content-Type", self.content_type)]


def json_answer(value: "Any", status: int = 200) -> Answer:
    """A short answer in JSON."""
    from json import dumps
    return Answer([dumps(value).encode() + b"\n"], b"application/json", status)


def joined(pieces: "Iterable[bytes]") -> "Iterator[bytes]":
    """Pieces of a size that is worth a packet each; each step is one, or empty."""
    kept = []  # type: List[bytes]
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= PIECE_SIZE:
            yield b"".join(kept)
            kept, size = [], 0
        elif not piece:
            yield b""
    yield b"".join(kept)
