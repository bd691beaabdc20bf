"""Jobs by HTTP: bytes of requests in, packets for the core out; packets of the core in, bytes of responses out."""
import http.client
import os
import random
import ssl
import subprocess
import time

import pytest

from gearman_std.server.access import Access
from gearman_std.core.invariants import check_core
from gearman_std.core.orders import drop_job
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.core import Core
from gearman_std.errors import StoreError
from gearman_std.wire.http import MAX_HEAD_SIZE, pack_refusal
from gearman_std.wire.http_jobs import MAX_WARNING_SIZE, MAX_WARNINGS, JobSession
from gearman_std.core.limits import Limits
from gearman_std.core.peers import Peer
from gearman_std.wire.protocol import (CAN_DO, ECHO_REQ, ECHO_RES, ERROR, GRAB_JOB, JOB_ASSIGN, JOB_CREATED, LARGE_BODY,
                                       MAX_FIELD_SIZE, NO_JOB, OPTION_REQ, OPTION_RES, STATUS_RES, SUBMIT_JOB, SUBMIT_JOB_BG,
                                       SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG, SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, WORK_COMPLETE,
                                       WORK_DATA, WORK_EXCEPTION, WORK_FAIL, WORK_STATUS, WORK_WARNING, pack_request,
                                       pack_response, response_head)
from gearman_std.server.server import Server
from gearman_std.store.sqlite import JobStore
from patience import until
from server_tools import TIMEOUT, VERSION_LINE, Clock, in_dispatcher, let_pass

EXCEPTIONS = (OPTION_REQ, (b"exceptions",))
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SEED = int(os.environ.get("GEARMAN_STD_FUZZ_SEED") or time.time() * 1000 % 1e9)


def request(first, *headers, body=b"", newline=b"\r\n", host=(b"Host: x:1",)):
    """The bytes of a request."""
    headers = tuple(host) + headers
    return newline.join((first,) + headers + (b"", b"")) + body


def post(function=b"f", body=b"w", *headers):
    return request(b"POST /%b HTTP/1.1" % function, b"Content-Length: %d" % len(body), *headers, body=body)


def response(status, *headers, body=b"", stays=True, version=b"HTTP/1.1", size=None):
    """The bytes of a response."""
    lines = (b"%b %b" % (version, status),) + headers + (
        b"Content-Length: %d" % (len(body) if size is None else size), b"Server: gearman_std",
        b"Connection: keep-alive" if stays else b"Connection: close", b"", b"")
    return b"\r\n".join(lines) + body


def result(body=b"", command=b"WORK_COMPLETE", status=b"200 OK", handle=b"H:x:1", **options):
    return response(status, b"X-Gearman-Job-Handle: " + handle, b"X-Gearman-Command: " + command, body=body, **options)


def submit(packet_type=SUBMIT_JOB, function=b"f", unique=b"-", workload=b"w"):
    """The packets that a request makes."""
    return [EXCEPTIONS, (packet_type, (function, unique, workload))]


def plain(packets):
    return [(packet_type, tuple(map(bytes, arguments))) for packet_type, arguments in packets]


class Session:
    """An JobSession; what it returned and nobody looked at fails the test."""

    def __init__(self, max_size=1 << 20):
        self.session = JobSession(max_size)
        self.said = b""

    def sends(self, data, expected=()):
        assert plain(self.session.feed(data)) == plain(expected)
        return self

    def core_says(self, packet_type, *arguments):
        self.said += b"".join(map(bytes, self.session.respond([pack_response(packet_type, *arguments)])))
        return self

    def hears(self, *expected):
        said, self.said = self.said, b""
        assert said == b"".join(expected)
        return self

    def serves(self, data=None, packets=None, handle=b"H:x:1"):
        """Sends a request, which becomes a job."""
        self.sends(post() if data is None else data, submit() if packets is None else packets)
        return self.core_says(OPTION_RES, b"exceptions").core_says(JOB_CREATED, handle)

    def is_refused(self, data, status, headers=(), version=b"HTTP/1.1", head_only=False):
        """Sends what cannot be read, and gets the status, the reason in the body, and the end."""
        self.sends(data)
        error = self.session.error
        assert error is not None and error.code == status[:3], error
        text = str(error).encode("utf-8", "backslashreplace")
        self.core_says(ERROR, error.code, text)
        body = text + b"\n"
        self.hears(response(status, b"X-Gearman-Command: ERROR", *headers, body=b"" if head_only else body, size=len(body),
                            stays=False, version=version))
        assert self.session.over and self.session.held == 0
        return self.sends(post())

    def ends(self):
        assert self.said == b""


@pytest.fixture
def session():
    session = Session()
    yield session
    session.ends()


# --- Requests.


@pytest.mark.parametrize("data, expected", [
    (post(), submit()),
    (request(b"PUT /f HTTP/1.1", b"Content-Length: 1", body=b"w"), submit()),
    (request(b"GET /f HTTP/1.1"), submit(workload=b"")),
    (request(b"GET /f HTTP/1.0"), submit(workload=b"")),
    (request(b"HEAD /f HTTP/1.1"), submit(workload=b"")),
    (request(b"POST /f HTTP/1.1"), submit(workload=b"")),
    (request(b"GET /f HTTP/1.1", b"Content-Length: 3", body=b"www"), submit(workload=b"")),
    (request(b"GET /f HTTP/1.2"), submit(workload=b"")),
    (request(b"GET /f HTTP/1.0", host=()), submit(workload=b"")),
    (request(b"GET /f HTTP/1.1", b"HOST:", host=()), submit(workload=b"")),
    (request(b"GET /f HTTP/1.1", b"Host: [::1%25lo]:8080", host=()), submit(workload=b"")),
    (request(b"GET http://x:1/f HTTP/1.1"), submit(workload=b"")),
    (request(b"GET http://x/f HTTP/1.0", host=()), submit(workload=b"")),
    (request(b"GET HTTPS://other//f/g?h#i HTTP/1.1"), submit(function=b"f/g?h#i", workload=b"")),
    (request(b"GET ///a/b%20c?d=e HTTP/1.1"), submit(function=b"a/b%20c?d=e", workload=b"")),
    (request(b"GET /\xc3\xa9 HTTP/1.1"), submit(function=b"\xc3\xa9", workload=b"")),
    (post(b"x" * MAX_FIELD_SIZE), submit(function=b"x" * MAX_FIELD_SIZE)),
    (post(body=b"a\0b\r\n\r\nc"), submit(workload=b"a\0b\r\n\r\nc")),
    (post(b"f", b"w", b"X-Gearman-Unique: u"), submit(unique=b"u")),
    (post(b"f", b"w", b"x-gearman-unique:u"), submit(unique=b"u")),
    (post(b"f", b"w", b"X-Gearman-Unique:"), submit(unique=b"")),
    (post(b"f", b"w", b"X-GEARMAN-BACKGROUND: True"), submit(SUBMIT_JOB_BG)),
    (post(b"f", b"w", b"X-Gearman-Background: false"), submit()),
    (post(b"f", b"w", b"X-Gearman-Priority: HIGH"), submit(SUBMIT_JOB_HIGH)),
    (post(b"f", b"w", b"X-Gearman-Priority: low"), submit(SUBMIT_JOB_LOW)),
    (post(b"f", b"w", b"X-Gearman-Priority: middling"), submit()),
    (post(b"f", b"w", b"X-Gearman-Priority: high", b"X-Gearman-Background: true"), submit(SUBMIT_JOB_HIGH_BG)),
    (post(b"f", b"w", b"X-Gearman-Priority: Low", b"X-Gearman-Background: TRUE"), submit(SUBMIT_JOB_LOW_BG)),
    (request(b"POST /f HTTP/1.1", b"content-length:1", b"A: \xff", body=b"w"), submit()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: \t1 ", body=b"w", newline=b"\n"), submit()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: 0000000000000000000000001", body=b"w"), submit()),
    (b"\r\n\n" + post(), submit()),
    (post(body=bytes(LARGE_BODY)), submit(workload=bytes(LARGE_BODY))),
])
def test_a_request_becomes_a_submit(session, data, expected):
    session.sends(data, expected)
    assert session.session.held == 0 and session.session.error is None
    alone = Session()
    if len(data) < 10000:
        for index in range(len(data) - 1):
            alone.sends(data[index:index + 1])
            assert alone.session.held == index + 1 or data.startswith(b"\r\n"), index
        alone.sends(data[-1:], expected)
    for cut in (1, len(data) // 2, len(data) - 1):
        Session().sends(data[:cut]).sends(data[cut:], expected)


def test_a_large_body_is_not_copied_for_the_core_and_a_small_one_is_bytes(session):
    packets = session.session.feed(post(body=bytes(LARGE_BODY)))
    assert isinstance(packets[-1][1][2], memoryview)
    assert isinstance(Session().session.feed(post())[-1][1][2], bytes)


def test_a_body_in_many_pieces_costs_no_more_than_its_bytes(session):
    """Looking again at all that has arrived, for each piece, would take minutes."""
    size = 30 << 20
    big = JobSession(size)
    assert big.feed(post(body=bytes(size))[:-size]) == []
    piece = bytes(1024)
    for _ in range(size // 1024 - 1):
        assert not big.feed(piece)
    assert len(big.feed(piece)[-1][1][2]) == size


@pytest.mark.parametrize("data, status, headers", [
    (request(b"GET / HTTP/1.1"), b"404 Not Found", ()),
    (request(b"POST //// HTTP/1.1"), b"404 Not Found", ()),
    (request(b"TRACE /f HTTP/1.1"), b"405 Method Not Allowed", (b"Allow: GET, HEAD, POST, PUT",)),
    (request(b"DELETE /f HTTP/1.1"), b"405 Method Not Allowed", (b"Allow: GET, HEAD, POST, PUT",)),
    (request(b"get /f HTTP/1.1"), b"501 Not Implemented", ()),
    (request(b"FETCH /f HTTP/1.1"), b"501 Not Implemented", ()),
    (request(b"OPTIONS * HTTP/1.1"), b"405 Method Not Allowed", (b"Allow: GET, HEAD, POST, PUT",)),
    (request(b"CONNECT x:1 HTTP/1.1"), b"405 Method Not Allowed", (b"Allow: GET, HEAD, POST, PUT",)),
    (request(b"GET f HTTP/1.1"), b"400 Bad Request", ()),
    (request(b"GET * HTTP/1.1"), b"400 Bad Request", ()),
    (request(b"GET x:1 HTTP/1.1"), b"400 Bad Request", ()),
    (request(b"GET ftp://x/f HTTP/1.1"), b"400 Bad Request", ()),
    (request(b"GET http:///f HTTP/1.1"), b"400 Bad Request", ()),
    (request(b"GET http://x HTTP/1.1"), b"404 Not Found", ()),
    (request(b"GET http://x?a=/b HTTP/1.1"), b"404 Not Found", ()),
    (request(b"GET /f HTTP/1.1", host=()), b"400 Bad Request", ()),
    (request(b"GET http://x/f HTTP/1.1", host=()), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"Host: x:1"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"host: y"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"Host: a b", host=()), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"Host: a/b", host=()), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"Host: <a>", host=()), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"A\"b: x"), b"400 Bad Request", ()),
    (b"GET /f HTTP/1.10\r\n", b"400 Bad Request", ()),
    (b"GET /f HTTP/1\r\n", b"400 Bad Request", ()),
    (request(b"PRI * HTTP/2.0"), b"505 HTTP Version Not Supported", ()),
    (b"GET /f HTTP/0.9\r\n", b"505 HTTP Version Not Supported", ()),
    (b"GET /f\r\n", b"400 Bad Request", ()),
    (b"GET /f \n", b"400 Bad Request", ()),
    (b"GET  /f HTTP/1.1\n", b"400 Bad Request", ()),
    (b"GET /a b HTTP/1.1\n", b"400 Bad Request", ()),
    (b"GET /f HTPP/1.1\n", b"400 Bad Request", ()),
    (b"GET /f http/1.1\n", b"400 Bad Request", ()),
    (b"GE(T /f HTTP/1.1\n", b"400 Bad Request", ()),
    (b"GET /a\0b HTTP/1.1\n", b"400 Bad Request", ()),
    (b"GET /a\tb HTTP/1.1\n", b"400 Bad Request", ()),
    (b"status\n", b"400 Bad Request", ()),
    (pack_request(ECHO_REQ, b"x"), b"400 Bad Request", ()),
    (b"\x16\x03\x01\x02", b"400 Bad Request", ()),
    (b"\xff", b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"no header"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b": x"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"A : x"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"A: x", b" folded"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"A: x\ry"), b"400 Bad Request", ()),
    (request(b"GET /f HTTP/1.1", b"X-Gearman-Unique: a\0b"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: x"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length:"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: -1"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: +1"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: 1", b"Content-Length: 2"), b"400 Bad Request", ()),
    (request(b"POST /f HTTP/1.1", b"Transfer-Encoding: chunked"), b"411 Length Required", ()),
    (request(b"POST /f HTTP/1.1", b"Transfer-Encoding: chunked", b"Content-Length: 1"), b"411 Length Required", ()),
    (request(b"POST /f HTTP/1.1", b"Transfer-Encoding: gzip, chunked"), b"501 Not Implemented", ()),
    (request(b"POST /f HTTP/1.1", b"Transfer-Encoding:", b"Content-Length: 1"), b"501 Not Implemented", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: %d" % ((1 << 20) + 1)), b"413 Content Too Large", ()),
    (request(b"POST /f HTTP/1.1", b"Content-Length: " + b"9" * 10000), b"413 Content Too Large", ()),
    (request(b"POST /f HTTP/1.1", b"Expect: a miracle"), b"417 Expectation Failed", ()),
    (request(b"GET /%b HTTP/1.1" % (b"x" * (MAX_FIELD_SIZE + 1))), b"414 URI Too Long", ()),
    (b"GET /" + b"x" * MAX_HEAD_SIZE, b"431 Request Header Fields Too Large", ()),
    (request(b"GET /f HTTP/1.1", b"A: " + b"x" * MAX_HEAD_SIZE), b"431 Request Header Fields Too Large", ()),
    (request(b"GET /f HTTP/1.1", *[b"A: b"] * 20000), b"431 Request Header Fields Too Large", ()),
])
def test_what_cannot_be_read_gets_a_fitting_status_and_the_end(session, data, status, headers):
    session.is_refused(data, status, headers)
    alone = Session()
    for index in range(len(data)):
        alone.sends(data[index:index + 1])
        if alone.session.error is not None:
            break
    assert alone.session.error.code == status[:3] and alone.session.held == 0


def test_a_refusal_is_in_the_version_asked_for_and_for_head_without_a_body(session):
    session.is_refused(request(b"HEAD / HTTP/1.0"), b"404 Not Found", version=b"HTTP/1.0", head_only=True)


def test_many_headers_of_one_name_cost_no_more_than_their_bytes(session):
    """Joining them anew at each would copy 600 MB for 64 KB."""
    headers = [b"A:" + b"x" * 17] * 3000
    session.sends(post(b"f", b"w", *headers), submit())
    many = request(b"GET /f HTTP/1.1", *[b"A:"] * 15000)
    assert len(many) < MAX_HEAD_SIZE
    start = time.process_time()
    Session().sends(many, submit(workload=b""))
    assert time.process_time() - start < 2.0
    Session().sends(post(b"f", b"w", b"X-Gearman-Unique: a", b"X-Gearman-Unique: b"), submit(unique=b"a,b"))


def test_the_server_counts_as_too_large_what_is(session):
    assert session.sends(b"A" * (MAX_HEAD_SIZE + 1)).session.error.limit == "line"
    too_large = Session(5).sends(request(b"POST /f HTTP/1.1", b"Content-Length: 6"))
    assert too_large.session.error.limit == "packet"
    Session(5).sends(post(body=b"12345"), submit(workload=b"12345"))


def test_who_waits_for_100_continue_gets_it(session):
    """curl waits for it before it sends a large body.  It goes through the core, so that it is sent like all else."""
    data = post(b"f", b"w", b"Expect: 100-Continue")
    session.sends(data[:-1], [(ECHO_REQ, (CONTINUE,))]).core_says(ECHO_RES, CONTINUE).hears(CONTINUE)
    session.sends(b"w", submit())
    Session().sends(data, submit())
    Session().sends(data.replace(b"HTTP/1.1", b"HTTP/1.0")[:-1]).sends(b"w", submit())


# --- Responses.


def test_a_result_is_the_body(session):
    session.serves().hears()
    session.core_says(WORK_STATUS, b"H:x:1", b"1", b"2").hears()
    session.core_says(WORK_COMPLETE, b"H:x:1", b"a\0b").hears(result(b"a\0b"))


def test_background_jobs_are_answered_when_they_are_accepted(session):
    """With status 200, as gearmand does."""
    session.serves(post(b"f", b"w", b"X-Gearman-Background: true"), submit(SUBMIT_JOB_BG))
    session.hears(result(command=b"JOB_CREATED"))


def test_background_jobs_whose_end_is_kept_are_answered_with_the_place_of_their_result(session):
    session.session = JobSession(1000, lambda function: function == b"f", lambda handle: [])
    session.serves(post(b"f", b"w", b"X-Gearman-Background: true"), submit(SUBMIT_JOB_BG), b"H:x y:1")
    session.hears(response(b"202 Accepted", b"X-Gearman-Job-Handle: H:x y:1", b"X-Gearman-Command: JOB_CREATED",
                           b"Location: /api/jobs/H:x%20y:1/result", body=b""))
    session.serves(post(b"g", b"w", b"X-Gearman-Background: true"), submit(SUBMIT_JOB_BG, b"g"))
    session.hears(result(command=b"JOB_CREATED"))


def test_the_result_of_a_job_is_asked_for_by_its_place(session):
    asked = []

    def ask_for(handle):
        asked.append(handle)
        return [(ECHO_REQ, (b"question",))]
    session.session = JobSession(1000, bool, ask_for)
    session.sends(request(b"GET /api/jobs/H:x%20y:1/result HTTP/1.1", b"X-Gearman-Background: true"),
                  [(ECHO_REQ, (b"question",))])
    session.core_says(JOB_CREATED, b"H:x y:1").hears()
    session.core_says(WORK_DATA, b"H:x y:1", b"so ").core_says(WORK_COMPLETE, b"H:x y:1", b"it is")
    session.hears(result(b"so it is", handle=b"H:x y:1"))
    session.sends(request(b"GET /api/jobs/H:x:2/result HTTP/1.1"), [(ECHO_REQ, (b"question",))])
    session.core_says(STATUS_RES, b"H:x:2", b"1", b"0", b"0", b"0")
    session.hears(response(b"202 Accepted", b"X-Gearman-Job-Handle: H:x:2", b"X-Gearman-Command: STATUS_RES",
                           b"Retry-After: 1", body=b""))
    assert asked == [b"H:x y:1", b"H:x:2"]
    session.serves(post(b"api/jobs/H:x:2/result"), submit(function=b"api/jobs/H:x:2/result")).core_says(
        WORK_COMPLETE, b"H:x:1", b"").hears(result())


def test_head_has_all_but_the_body(session):
    session.serves(request(b"HEAD /f HTTP/1.1"), submit(workload=b""))
    session.core_says(WORK_COMPLETE, b"H:x:1", b"abc").hears(result(size=3))


def test_parts_come_before_the_result(session):
    session.serves()
    for part in (b"one", b"", b"two"):
        session.core_says(WORK_DATA, b"H:x:1", part).hears()
    session.core_says(WORK_COMPLETE, b"H:x:1", b"three").hears(result(b"onetwothree"))
    session.serves().core_says(WORK_COMPLETE, b"H:x:1", b"x").hears(result(b"x"))


def test_a_failure_is_status_500_with_the_parts(session):
    """The handle is whole, even if the worker wrote it with a NUL."""
    session.serves().core_says(WORK_DATA, b"H:x:1", b"part").core_says(WORK_FAIL, b"H:x:1\0")
    session.hears(result(b"part", b"WORK_FAIL", b"500 Internal Server Error"))


def test_an_exception_is_status_500_with_its_text_alone(session):
    session.serves().core_says(WORK_DATA, b"H:x:1", b"part").core_says(WORK_EXCEPTION, b"H:x:1", b"ValueError: x")
    session.hears(result(b"ValueError: x", b"WORK_EXCEPTION", b"500 Internal Server Error"))


def test_warnings_are_headers(session):
    """Cleaned of what would end a header, cut, and not too many."""
    session.serves()
    for warning in [b"one\r\nX: y\0", b"\xff" * (MAX_WARNING_SIZE + 1)] + [b"w"] * MAX_WARNINGS:
        session.core_says(WORK_WARNING, b"H:x:1", warning).hears()
    warnings = [b"one  X: y ", b"\xff" * MAX_WARNING_SIZE] + [b"w"] * (MAX_WARNINGS - 2)
    session.core_says(WORK_COMPLETE, b"H:x:1", b"r")
    session.hears(response(b"200 OK", b"X-Gearman-Job-Handle: H:x:1", b"X-Gearman-Command: WORK_COMPLETE",
                           *[b"X-Gearman-Warning: " + warning for warning in warnings], body=b"r"))


@pytest.mark.parametrize("code, status, headers", [
    (b"QUEUE_ERROR", b"503 Service Unavailable", (b"Retry-After: 5",)),
    (b"JOB_EXISTS", b"409 Conflict", ()),
    (b"FORBIDDEN", b"403 Forbidden", ()),
    (b"ARGUMENT_TOO_LARGE", b"400 Bad Request", ()),
    (b"INVALID_COMMAND", b"500 Internal Server Error", ()),
])
def test_what_the_core_refuses_gets_a_fitting_status_and_the_connection_goes_on(session, code, status, headers):
    session.sends(post(), submit()).core_says(OPTION_RES, b"exceptions").core_says(ERROR, code, b"because")
    session.hears(response(status, b"X-Gearman-Command: ERROR", b"X-Gearman-Error: " + code, *headers, body=b"because\n"))
    session.serves().core_says(WORK_COMPLETE, b"H:x:1", b"x").hears(result(b"x"))


def test_who_is_turned_away_is_told_in_http():
    assert pack_refusal(b"TOO_MANY_CONNECTIONS", b"no room") == response(
        b"503 Service Unavailable", b"X-Gearman-Command: ERROR", b"X-Gearman-Error: TOO_MANY_CONNECTIONS", b"Retry-After: 5",
        body=b"no room\n", stays=False)


@pytest.mark.parametrize("kind", [WORK_DATA, WORK_COMPLETE, WORK_EXCEPTION])
def test_what_the_worker_sends_is_bounded(kind):
    session = Session(100)
    session.serves().core_says(WORK_DATA, b"H:x:1", b"x" * (100 if kind != WORK_EXCEPTION else 0)).hears()
    session.core_says(kind, b"H:x:1", b"x" * (1 if kind != WORK_EXCEPTION else 101))
    session.hears(response(b"500 Internal Server Error", b"X-Gearman-Command: ERROR",
                           body=b"The result has more than 100 bytes\n", stays=False))
    assert session.session.over
    session.core_says(WORK_COMPLETE, b"H:x:1", b"late").hears()


def test_a_large_result_comes_in_two_pieces(session):
    """As the core hands it on, without joining it to its head."""
    session.serves()
    large = memoryview(b"r" * LARGE_BODY)
    head = response_head(WORK_COMPLETE, LARGE_BODY, b"H:x:1")
    assert session.session.respond([head]) == []
    assert b"".join(map(bytes, session.session.respond([large]))) == result(bytes(large))


# --- Connections that stay, or not.


@pytest.mark.parametrize("version, header, stays", [
    (b"HTTP/1.1", b"A: b", True), (b"HTTP/1.1", b"Connection: close", False), (b"HTTP/1.1", b"connection: x, CLOSE", False),
    (b"HTTP/1.0", b"A: b", False), (b"HTTP/1.0", b"Connection: Keep-Alive", True),
])
def test_the_connection_stays_as_the_client_wishes(session, version, header, stays):
    data = request(b"GET /f " + version, header)
    session.serves(data, submit(workload=b"")).core_says(WORK_COMPLETE, b"H:x:1", b"r")
    session.hears(result(b"r", version=version, stays=stays))
    assert session.session.over is not stays
    if stays:
        session.serves(data, submit(workload=b""), b"H:x:2").core_says(WORK_COMPLETE, b"H:x:2", b"r")
        session.hears(result(b"r", handle=b"H:x:2", version=version))
    else:
        session.sends(data)


def test_nothing_of_a_request_is_left_for_the_next(session):
    session.serves(post(b"f", b"w", b"X-Gearman-Unique: u", b"X-Gearman-Priority: high", b"Connection: x"),
                   submit(SUBMIT_JOB_HIGH, unique=b"u"))
    session.core_says(WORK_WARNING, b"H:x:1", b"w").core_says(WORK_FAIL, b"H:x:1")
    session.hears(response(b"500 Internal Server Error", b"X-Gearman-Job-Handle: H:x:1", b"X-Gearman-Command: WORK_FAIL",
                           b"X-Gearman-Warning: w"))
    session.serves(request(b"GET /g HTTP/1.1"), submit(function=b"g", workload=b""))
    session.core_says(WORK_COMPLETE, b"H:x:1", b"r").hears(result(b"r"))


@pytest.mark.parametrize("together", [True, False])
def test_a_request_before_the_response_to_the_last_is_not_served_and_the_client_is_told(session, together):
    if together:
        session.serves(post() + post(b"g"))
    else:
        session.serves().sends(post(b"g"))
    session.core_says(WORK_COMPLETE, b"H:x:1", b"r").hears(result(b"r", stays=False))
    assert session.session.over and session.session.held == 0


def test_an_empty_line_after_a_body_is_no_request(session):
    session.serves(post() + b"\r\n").core_says(WORK_COMPLETE, b"H:x:1", b"r").hears(result(b"r"))
    session.sends(b"\r\n")
    assert session.session.held == 0, "nothing is half sent"
    session.serves().core_says(WORK_COMPLETE, b"H:x:1", b"r").hears(result(b"r"))


def test_repr_tells_what_goes_on(session):
    def shown():
        return repr(session.session)
    assert shown() == "<JobSession 0 bytes of a request>"
    session.sends(b"GET /")
    assert shown() == "<JobSession 5 bytes of a request>"
    session.sends(b"f HTTP/1.0\n\n", submit(workload=b""))
    assert shown() == "<JobSession serving f>"
    session.core_says(JOB_CREATED, b"H:x:1").core_says(WORK_COMPLETE, b"H:x:1", b"").hears(
        result(version=b"HTTP/1.0", stays=False))
    assert shown() == "<JobSession over>"
    assert repr(Session().sends(b"\0").session).startswith("<JobSession not a request of HTTP")


# --- Nonsense.


def test_whatever_is_sent_ends_as_jobs_or_as_an_error():
    """Random and mutated requests; the same bytes at once and in pieces make the same of it, and the core is sound."""
    chance = random.Random(SEED)
    pieces = [b"GET", b"POST", b"HEAD", b" ", b"/", b"f", b" HTTP/1.1", b" HTTP/1.0", b"\r\n", b"\n", b"Content-Length: 3",
              b"Expect: 100-continue", b"X-Gearman-Unique: ", b"X-Gearman-Background: true", b"Connection: close", b":", b"\0",
              b"abc", b"\xff", b"Transfer-Encoding: x"]
    print("GEARMAN_STD_FUZZ_SEED=%d" % SEED)
    jobs = errors = 0
    for _ in range(3000):
        data = bytearray(post(b"f", b"abc", *chance.sample([piece for piece in pieces if b": " in piece], 2)))
        for _ in range(chance.choice((0, 0, 1, 3))):
            position = chance.randrange(len(data))
            data[position:position + chance.choice((0, 1, 5))] = chance.choice(pieces)
        if chance.random() < 0.1:
            data = bytearray(b"".join(chance.choice(pieces) for _ in range(20)))
        whole, cut = Session(1000), Session(1000)
        expected = plain(whole.session.feed(bytes(data)))
        got = []
        position = 0
        while position < len(data):
            size = chance.randint(1, 40)
            got += plain(cut.session.feed(bytes(data[position:position + size])))
            position += size
        assert [packet for packet in got if packet[0] != ECHO_REQ] == [packet for packet in expected if packet[0] != ECHO_REQ]
        assert (cut.session.error and cut.session.error.code) == (whole.session.error and whole.session.error.code)
        core, peer = Core(), Peer(1, b"::1")
        core.connect(peer)
        core.receive(peer, whole.session.feed(b"") + expected)
        check_core(core)
        said = b"".join(map(bytes, whole.session.respond(peer.outgoing)))
        jobs += len(core.jobs)
        errors += whole.session.error is not None
        assert said == b"" or said.startswith(b"HTTP/1.")
    assert jobs > 500 and errors > 500


# --- Over sockets.


@pytest.fixture
def serve(place):
    """Starts a server with HTTP, with an address for each."""
    return lambda **settings: place.serve(**dict({"listen": ["127.0.0.1", "http:127.0.0.1:0"]}, **settings))


class Asker:
    """A client of the standard library's; its connection stays."""

    def __init__(self, address, context=None):
        kind = http.client.HTTPConnection if context is None else http.client.HTTPSConnection
        self.connection = kind(*address, timeout=TIMEOUT, **({} if context is None else {"context": context}))

    def asks(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        return self

    def hears(self):
        """Status, command, body."""
        answer = self.connection.getresponse()
        return answer.status, answer.getheader("X-Gearman-Command"), answer.read()


@pytest.fixture
def ask():
    """Makes an Asker for an address."""
    askers = []

    def ask(address, **options):
        askers.append(Asker(address, **options))
        return askers[-1]
    yield ask
    for asker in askers:
        asker.connection.close()


def works(wire, handle, workload, function=b"f"):
    """A worker gets a job, which is there."""
    wire.request(GRAB_JOB)
    wire.response(JOB_ASSIGN, handle, function, workload)


def waiting(server):
    return in_dispatcher(server, lambda: len(server.core.jobs))


def test_jobs_by_http_and_by_gearmans_protocol_are_the_same(place, serve, ask):
    server = serve()
    worker, client = place.wire(server), ask(server.addresses[1])
    worker.request(CAN_DO, b"f")
    for number in range(1, 4):
        client.asks("POST", "/f", b"hello")
        until(lambda: waiting(server))
        works(worker, b"H:t:%d" % number, b"hello")
        worker.request(WORK_DATA, b"H:t:%d" % number, b"part ")
        worker.request(WORK_COMPLETE, b"H:t:%d" % number, b"olleh")
        assert client.hears() == (200, "WORK_COMPLETE", b"part olleh")
    client.asks("PUT", "/f", b"later", X_Gearman_Background="true", X_Gearman_Priority="low", X_Gearman_Unique="u")
    assert client.hears() == (200, "JOB_CREATED", b"")
    works(worker, b"H:t:4", b"later")
    worker.request(WORK_FAIL, b"H:t:4")
    client.asks("GET", "/f")
    until(lambda: waiting(server))
    works(worker, b"H:t:5", b"")
    worker.request(WORK_EXCEPTION, b"H:t:5", b"boo")
    assert client.hears() == (500, "WORK_EXCEPTION", b"boo")
    assert in_dispatcher(server, lambda: len(server._channels.all)) == 2, "one connection for all of it"


def test_the_result_of_a_background_job_is_at_its_place_until_its_time_is_over(place, serve, ask):
    server = serve(policies={b"f": FunctionPolicy(keep=3600, keep_bytes=1000), b"g": FunctionPolicy(keep=3600, attempts=2)})
    worker, client = place.wire(server), ask(server.addresses[1])
    for function in (b"f", b"g"):
        worker.request(CAN_DO, function)
    outcomes = (((WORK_DATA, b"a"), (WORK_COMPLETE, b"bc")), ((WORK_DATA, b"a"), (WORK_EXCEPTION, b"why")),
                ((WORK_DATA, b"a"), (WORK_FAIL,)), ((WORK_COMPLETE, b"x" * 1000),))
    said = ((200, "WORK_COMPLETE", b"abc"), (500, "WORK_EXCEPTION", b"why"), (500, "WORK_FAIL", b"a"),
            (404, "ERROR", b"the result is larger than the 1000 bytes that are kept\n"))
    for number, (outcome, expected) in enumerate(zip(outcomes, said), 1):
        client.asks("POST", "/f", b"w", X_Gearman_Background="true", X_Gearman_Unique="")
        answer = client.connection.getresponse()
        assert (answer.status, answer.getheader("X-Gearman-Command"), answer.read()) == (202, "JOB_CREATED", b"")
        location = answer.getheader("Location")
        assert client.asks("GET", location).hears() == (202, "STATUS_RES", b"")
        works(worker, b"H:t:%d" % number, b"w")
        for packet in outcome:
            worker.request(packet[0], b"H:t:%d" % number, *packet[1:])
        worker.request(ECHO_REQ, b"")
        worker.response(ECHO_RES, b"")
        assert client.asks("GET", location).hears() == client.asks("GET", location).hears() == expected
    assert client.asks("GET", "/api/jobs/H:t:9/result").hears() == (404, "ERROR", b"It is not known how that job ended\n")
    client.asks("POST", "/g", b"w", X_Gearman_Background="true").hears()
    in_dispatcher(server, lambda: drop_job(server.core, server.core.jobs[b"H:t:5"]))
    assert client.asks("GET", "/api/jobs/H:t:5/result").hears() == (500, "WORK_EXCEPTION", b"its function was dropped")


def test_who_may_not_ask_text_commands_gets_no_result(place, serve, ask):
    server = serve(policy=FunctionPolicy(keep=3600), access=Access(admin=["none"]))
    client = ask(server.addresses[1])
    client.asks("POST", "/f", b"w", X_Gearman_Background="true").hears()
    assert client.asks("GET", "/api/jobs/H:t:1/result").hears() == (403, "ERROR", b"This connection may not ask that\n")


@pytest.mark.parametrize("size", [LARGE_BODY - 1, LARGE_BODY, 3000000])
def test_large_jobs_go_both_ways(place, serve, ask, size):
    server = serve()
    worker, client = place.wire(server), ask(server.addresses[1])
    worker.request(CAN_DO, b"f")
    data = os.urandom(size)
    client.asks("POST", "/f", data)
    until(lambda: waiting(server))
    works(worker, b"H:t:1", data)
    worker.request(WORK_COMPLETE, b"H:t:1", data)
    assert client.hears() == (200, "WORK_COMPLETE", data)


def test_a_client_that_goes_takes_its_foreground_job_with_it(place, serve, ask):
    server = serve()
    client = ask(server.addresses[1]).asks("POST", "/f", b"w")
    until(lambda: waiting(server) == 1)
    client.connection.close()
    until(lambda: waiting(server) == 0)
    worker = place.wire(server)
    worker.request(CAN_DO, b"f")
    worker.request(GRAB_JOB)
    worker.response(NO_JOB)


def test_garbage_is_told_and_ends_that_connection_alone(place, serve):
    server = serve()
    wire = place.wire(server.addresses[1])
    wire.send(b"status\n")
    body = b"not a request of HTTP: b'status'\n"
    wire.expect(response(b"400 Bad Request", b"X-Gearman-Command: ERROR", body=body, stays=False))
    wire.ended()
    other = place.wire(server)
    other.send(b"version\n")
    other.expect(VERSION_LINE)
    assert other.totals()["streams_refused"] == 1


def test_connections_close_when_they_are_to(place, serve):
    """And what was sent after the request does not make the system take the response back."""
    server = serve()
    wire = place.wire(server.addresses[1])
    wire.send(post(b"f", b"w", b"X-Gearman-Background: true") * 500)
    wire.expect(result(command=b"JOB_CREATED", handle=b"H:t:1", stays=False))
    wire.ended()


def test_the_limits_hold(place, serve, ask):
    server = serve(max_packet_size=1000, max_connections=2, limits=Limits(jobs=1))
    first, second = ask(server.addresses[1]), ask(server.addresses[1])
    assert first.asks("POST", "/f", b"1", X_Gearman_Background="true").hears()[0] == 200
    assert second.asks("POST", "/f", b"2").hears() == (503, "ERROR", b"The server is full: too many jobs\n")
    third = place.wire(server.addresses[1])
    text = b"The server has no room for another connection"
    third.expect(pack_refusal(b"TOO_MANY_CONNECTIONS", text))
    third.ended()
    assert first.asks("POST", "/f", bytes(1001)).hears()[:2] == (413, "ERROR")
    assert second.asks("POST", "/f", b"", X_Gearman_Unique="u" * 65).hears()[:2] == (400, "ERROR")


def test_a_request_that_is_left_half_sent_is_dropped_and_one_being_served_is_not(place, serve):
    clock = Clock()
    server = serve(clock=clock, stall_timeout=60.0)
    stalled, waits = place.wire(server.addresses[1]), place.wire(server.addresses[1])
    stalled.send(post(b"f", b"www")[:-1])
    waits.send(post()[:-1])
    until(lambda: in_dispatcher(server, lambda: len(server._channels.unfinished)) == 2)
    waits.send(b"w")
    until(lambda: waiting(server) == 1)
    for _ in range(20):
        let_pass(server, clock, 5.0)
    stalled.ended()
    worker = place.wire(server)
    worker.request(CAN_DO, b"f")
    works(worker, b"H:t:1", b"w")
    worker.request(WORK_COMPLETE, b"H:t:1", b"r")
    waits.expect(result(b"r", handle=b"H:t:1"))


@pytest.mark.parametrize("who, status, text", [
    ({"submit": ["none"]}, b"403 Forbidden", b"This connection may not do that"),
    ({"submit": ["none"], "work": ["none"], "admin": ["none"]}, b"403 Forbidden", b"Nothing is allowed to this connection"),
])
def test_submitting_takes_the_right_to(place, serve, who, status, text):
    server = serve(access=Access(**who))
    wire = place.wire(server.addresses[1])
    if len(who) == 1:
        wire.send(post(b"f", b"w", b"Connection: close"))
    wire.expect(response(status, b"X-Gearman-Command: ERROR", b"X-Gearman-Error: FORBIDDEN", body=text + b"\n", stays=False))
    wire.ended()


class BrokenStore(JobStore):
    """Its disk is full."""

    def write(self, *arguments, **options):
        raise StoreError("the disk is full")


def test_a_job_that_the_store_does_not_take_is_not_acknowledged(place, serve, ask, tmp_path):
    server = serve(store=BrokenStore(str(tmp_path / "jobs.db")))
    client = ask(server.addresses[1])
    status, command, body = client.asks("POST", "/f", b"w", X_Gearman_Background="true").hears()
    assert (status, command) == (503, "ERROR") and b"the disk is full" in body


def test_http_through_tls(place, ask):
    folder = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")
    server = place.run(Server(listen=["tcp:127.0.0.1:0", "https:127.0.0.1:0"],
                              tls={"certificate": os.path.join(folder, "server.pem")}))
    context = ssl.create_default_context(cafile=os.path.join(folder, "ca.pem"))
    client = ask(server.addresses[1], context=context)
    worker = place.wire(server)
    worker.request(CAN_DO, b"f")
    data = os.urandom(300000)
    for _ in range(2):
        client.asks("POST", "/f", data)
        until(lambda: waiting(server))
        worker.request(GRAB_JOB)
        handle = worker.packet()[1].split(b"\0")[0]
        worker.request(WORK_COMPLETE, handle, data[::-1])
        assert client.hears() == (200, "WORK_COMPLETE", data[::-1])


def test_curl(place, serve, require, tmp_path):
    """It waits for 100 Continue before it sends so large a body."""
    server = serve()
    worker = place.wire(server)
    worker.request(CAN_DO, b"f")
    (tmp_path / "data").write_bytes(b"d" * 1100000)
    curl = subprocess.Popen([require("curl"), "-sS", "--noproxy", "*", "--max-time", "20", "-D", "-", "--data-binary",
                             "@" + str(tmp_path / "data"), "http://%s:%d/f" % server.addresses[1]],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: waiting(server))
    works(worker, b"H:t:1", b"d" * 1100000)
    worker.request(WORK_COMPLETE, b"H:t:1", b"done")
    output, errors = curl.communicate(timeout=TIMEOUT)
    assert (output, errors, curl.returncode) == (CONTINUE + result(b"done", handle=b"H:t:1"), b"", 0)
