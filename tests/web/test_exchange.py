"""A request as the functions see it that answer it, and the pieces of an answer."""
import pytest

from gearman_std.errors import ProtocolError
from gearman_std.web.exchange import PIECE_SIZE, Answer, WebRequest, as_bytes, joined, json_answer


def test_a_request():
    request = WebRequest(b"/functions/a%2Fb%20c?search=x%20y&limit=5&empty=&search=last")
    assert request.parts == ["functions", "a/b c"] and request.shown == "/functions/a/b c"
    assert request.query == {"search": "last", "limit": "5", "empty": ""}
    assert request.number("limit", 100, 1000) == 5 and request.number("other", 100, 1000) == 100
    assert request.one_of("empty", "name", "age") == "name"
    assert repr(request) == "<WebRequest of /functions/a/b c>"
    request.read(b"force=1")
    assert request.query["force"] == "1"


@pytest.mark.parametrize("separator", (b"&", b";"))
def test_a_query_of_very_many_values_is_refused_unread(separator):
    assert len(WebRequest(b"/?" + b"&".join(b"v%d=1" % number for number in range(101))).query) == 101
    request = WebRequest(b"/")
    with pytest.raises(ProtocolError, match="more than 100 values"):
        request.read(separator.join([b"a"] * 102))
    assert not request.query


def test_of_a_path_of_very_many_parts_few_are_told_apart():
    request = WebRequest(b"/%41" * 20000)
    assert request.parts == ["A"] * 15 + ["A" + "/A" * 19984] and request.shown == "/A" * 20000


def test_bytes_that_are_no_text_come_back_as_they_were():
    request = WebRequest(b"/functions/%FF%C3%BC\xfe?search=%80")
    assert as_bytes(request.parts[1]) == b"\xff\xc3\xbc\xc3\xbe" and request.bytes_of("search") == b"\x80"
    assert request.bytes_of("nothing") == b""


@pytest.mark.parametrize("query, ask", [
    (b"limit=0", lambda request: request.number("limit", 1, 10)), (b"limit=11", lambda request: request.number("limit", 1, 10)),
    (b"limit=-1", lambda request: request.number("limit", 1, 10)),
    (b"limit=%C2%B2", lambda request: request.number("limit", 1, 10)),  # Python calls this a digit, but it is not a number
    (b"limit=0000000001" + b"9" * 5000, lambda request: request.number("limit", 1, 10)),
    (b"limit=" + b"9" * 50, lambda request: request.number("limit", 1, 10)),
    (b"sort=x", lambda request: request.one_of("sort", "name", "age")), (b"x=1", lambda request: request.only()),
    (b"x=1&limit=2", lambda request: request.only("limit"))])
def test_what_makes_no_sense(query, ask):
    with pytest.raises(ProtocolError) as caught:
        ask(WebRequest(b"/?" + query))
    assert caught.value.code == b"400" and query[:1].decode() in str(caught.value)


def test_pieces_are_joined_but_steps_stay_steps():
    pieces = list(joined(iter([b"a", b"b", b"", b"c" * PIECE_SIZE, b"d"])))
    assert pieces == [b"", b"ab" + b"c" * PIECE_SIZE, b"d"]
    pieces = list(joined(iter([b"a", b"", b"b" * PIECE_SIZE, b"c", b"", b"d" * (3 * PIECE_SIZE), b"e"]), 3 * PIECE_SIZE))
    assert pieces == [b"", b"a" + b"b" * PIECE_SIZE + b"c", b"d" * 3 * PIECE_SIZE, b"e"]


def test_answers():
    answer = json_answer({"a": 1}, 503)
    assert list(answer.pieces) == [b'{"a": 1}\n'] and answer.fields() == [(b"Content-Type", b"application/json")]
    assert repr(answer) == "<Answer 503 application/json>" and Answer([], b"text/plain").status == 200
