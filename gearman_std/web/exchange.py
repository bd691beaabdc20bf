"""An HTTP request as the functions that answer it see it, and their answer."""
from ..wire.http import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Iterator, List, Sequence, Tuple

LIMIT, MOST = 100, 1000  # entries of a listing: without limit= in the request, and at most
_PATH_PARTS = 16         # parts of a path that are told apart; none that is served has more than four
_MOST_FIELDS = 100       # values of a query; more of them would take long to read
PIECE_SIZE = 16384       # bytes: a piece of a body is sent as soon as it has so many
_NAME_COST = 64          # bytes: to show a name takes as long as to show so many bytes more; it may have thousands


class WebRequest:
    """What is asked for: the parts of the path, and the values of the query.  All of them are text; a byte that is not UTF-8 is
    a lone surrogate there.

    Owner: the WebSession.
    """

    __slots__ = ("parts", "query", "accept")

    def __init__(self, target: bytes) -> None:
        from urllib.parse import unquote
        path, _, query = target.partition(b"?")
        self.parts = [unquote(part, errors="surrogateescape") for part in path.decode("latin-1").split("/", _PATH_PARTS)[1:]]
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
        """Add the values of a query, or of a form.  Raises ProtocolError if they are too many."""
        from urllib.parse import parse_qsl
        if query.count(b"&") + query.count(b";") > _MOST_FIELDS:
            raise refused(400, "more than %d values" % _MOST_FIELDS)
        self.query.update(parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="surrogateescape"))

    def number(self, name: str, usual: int, most: int) -> int:
        """A value of the query that is a number from 1 to `most`, `usual` if it is missing.  Raises ProtocolError."""
        text = self.query.get(name, "")
        if not text:
            return usual
        if len(text) > 10 or not as_bytes(text).isdigit() or not 0 < int(text) <= most:
            raise refused(400, "%s is %.40r, not a number from 1 to %d" % (name, text, most))
        return int(text)

    def one_of(self, name: str, *choices: str) -> str:
        """A value of the query that is one of `choices`, the first of them if it is missing.  Raises ProtocolError."""
        text = self.query.get(name) or choices[0]
        if text not in choices:
            raise refused(400, "%s is %.40r, not one of %s" % (name, text, ", ".join(filter(None, choices))))
        return text

    def bytes_of(self, name: str) -> bytes:
        """A value of the query as bytes, empty if it is missing."""
        return as_bytes(self.query.get(name, ""))

    def only(self, *names: str) -> None:
        """Raise ProtocolError if the query has a value with any other name."""
        for name in self.query:
            if name not in names:
                allowed = "only " + ", ".join(names) if names else "nor anything else"
                raise refused(400, "this path takes no %.40r, %s" % (name, allowed))


def as_bytes(text: str) -> bytes:
    """The bytes that a part of a path or a value of a query stands for."""
    return text.encode("utf-8", "surrogateescape")


class Answer:
    """What to answer: a status, the type of the body, and the pieces of the body.  An empty piece only ends a step.

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
        """The headers that this response has and others have not."""
        return [(b"Content-Type", self.content_type)]


def steps_of(things: "Sequence[Any]", size_of: "Callable[[Any], int]", most: int = 256) -> "Iterator[Tuple[int, int]]":
    """Where parts of a list begin and end, each of which makes a step: `most` things, or fewer if their names are long.

    `size_of` says how many bytes of a thing are looked at.
    """
    start = cost = 0
    for end, thing in enumerate(things, 1):
        cost += _NAME_COST + size_of(thing)
        if cost >= most * _NAME_COST:
            yield start, end
            start, cost = end, 0
    if start < len(things):
        yield start, len(things)


def json_answer(value: "Any", status: int = 200) -> Answer:
    """A short answer in JSON."""
    from json import dumps
    return Answer([dumps(value).encode() + b"\n"], b"application/json", status)


def joined(pieces: "Iterable[bytes]", most: int = PIECE_SIZE) -> "Iterator[bytes]":
    """Join small pieces into pieces that are worth a packet each.

    What reaches `most` bytes is yielded at once.  An empty piece ends a step: then what was joined is yielded if it has
    PIECE_SIZE bytes; else an empty piece is yielded.
    """
    kept = []  # type: List[bytes]
    size = 0
    for piece in pieces:
        kept.append(piece)
        size += len(piece)
        if size >= (most if piece else PIECE_SIZE):
            yield b"".join(kept)
            kept, size = [], 0
        elif not piece:
            yield b""
    yield b"".join(kept)
