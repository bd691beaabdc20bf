"""Who may do what: by network, by certificate, by the user at the other end of a Unix socket."""
import os
import socket
import struct

import pytest

from gearman_std.server.access import Access, PeerFacts, names_in_certificate, plain_address
from gearman_std.core.rights import ADMIN, ALL_RIGHTS, STEER, SUBMIT, WORK
from gearman_std.wire.protocol import ERROR, JOB_CREATED, pack_request, pack_response
from gearman_std.server.server import Server

HOME, FAR = PeerFacts("127.0.0.1"), PeerFacts("203.0.113.9")
UNIX = PeerFacts(uid=1000)


def who(word, *peers):
    """Which of the peers may work if only `word` is on the list."""
    access = Access(work=[word])
    return [peer for peer in peers if WORK in access.rights(peer)]


# --- The decision.


def test_by_default_everybody_may_all_but_steer_from_afar():
    access = Access()
    for peer in (HOME, UNIX, PeerFacts("::1"), PeerFacts("127.8.8.8")):
        assert access.rights(peer) is ALL_RIGHTS
    for peer in (FAR, PeerFacts("2001:db8::1"), PeerFacts("10.0.0.1", names=["operator"])):
        assert access.rights(peer) == {SUBMIT, WORK, ADMIN}


def test_each_right_has_its_own_list():
    access = Access(submit=["203.0.113.0/24"], work=["127.0.0.1"], admin=["unix"], steer=["any"])
    assert access.rights(FAR) == {SUBMIT}
    assert access.rights(HOME) == {WORK}
    assert access.rights(UNIX) == {ADMIN, STEER}
    assert access.rights(PeerFacts("198.51.100.1")) == frozenset()


def test_who_may_steer_must_be_an_admin():
    assert Access(admin=["uid:0"]).rights(UNIX) == {SUBMIT, WORK}
    assert Access(admin=["uid:0"]).rights(PeerFacts(uid=0)) == ALL_RIGHTS
    assert Access(admin=["10.0.0.0/8"]).rights(PeerFacts("10.1.1.1")) == {SUBMIT, WORK, ADMIN}


def test_networks():
    inside, outside = PeerFacts("10.1.2.3"), PeerFacts("11.1.2.3")
    assert who("10.0.0.0/8", inside, outside, UNIX) == [inside]
    assert who("10.1.2.3", inside, outside) == [inside]
    six = PeerFacts("2001:db8::77")
    assert who("2001:db8::/32", six, inside) == [six]
    assert who("::/0", six, inside) == [six]
    assert who("loopback", HOME, PeerFacts("::1"), FAR, UNIX)[2:] == []
    assert who("any", HOME, FAR, UNIX) == [HOME, FAR, UNIX]
    assert who("none", HOME, FAR, UNIX) == []
    assert Access(work=[]).rights(HOME) == {SUBMIT, ADMIN, STEER}


def test_unix_sockets_and_their_users():
    other, unknown = PeerFacts(uid=1001), PeerFacts()
    assert who("unix", UNIX, other, unknown, HOME) == [UNIX, other, unknown]
    assert who("uid:1000", UNIX, other, unknown, HOME, PeerFacts("127.0.0.1", uid=1000)) == [UNIX]


def test_a_user_may_be_named():
    pwd = pytest.importorskip("pwd")
    entry = pwd.getpwuid(os.getuid())
    assert Access(work=["uid:" + entry.pw_name]).uids == {entry.pw_uid}


def test_certificates():
    operator = PeerFacts("203.0.113.9", names=["operator", "operator.example"])
    assert who("cert:operator", operator, FAR, UNIX) == [operator]
    assert who("cert:operator.example", operator, FAR) == [operator]
    assert who("cert:operator.exampl", operator, PeerFacts("127.0.0.1", names=["operators"])) == []
    assert Access(work=["cert:a", "cert:b"], steer=["cert:c"]).certificate_names == {"a", "b", "c"}


def test_one_of_several_is_enough():
    access = Access(work=["10.0.0.0/8", "uid:1000", "cert:operator"])
    for peer in (PeerFacts("10.0.0.1"), UNIX, PeerFacts("203.0.113.9", names=["operator"])):
        assert WORK in access.rights(peer)
    assert WORK not in access.rights(FAR)


@pytest.mark.parametrize("words", [["nobody.example"], ["10.0.0.1/8"], ["10.0.0.0/33"], [""], ["cert:"], ["uid:"],
                                   ["uid:no such user"], ["none", "any"], "any"])
def test_what_is_no_list(words):
    with pytest.raises(ValueError):
        Access(admin=words)


@pytest.mark.parametrize("text, plain", [
    ("::ffff:127.0.0.1", "127.0.0.1"), ("::FFFF:10.0.0.1", "10.0.0.1"), ("fe80::1%eth0", "fe80::1"),
    ("::ffff:0:1", "::ffff:0:1"), ("10.0.0.1", "10.0.0.1"), ("", ""),
])
def test_addresses_are_compared_in_their_plain_form(text, plain):
    """A socket for both IPv6 and IPv4 shows IPv4 peers as ::ffff:a.b.c.d."""
    assert plain_address(text) == PeerFacts(text).address == plain


def test_the_names_in_a_certificate():
    shown = {"subject": ((("countryName", "XX"),), (("commonName", "operator"),)),
             "subjectAltName": (("DNS", "operator.example"), ("email", "operator@example.org"), ("DNS", "operator"))}
    assert names_in_certificate(shown) == ("operator", "operator.example", "operator@example.org")
    assert names_in_certificate({}) == names_in_certificate(None) == ()


def test_they_show_themselves():
    assert repr(PeerFacts("10.0.0.1", 7, ["a"])) == "<PeerFacts 10.0.0.1, uid 7, certificate of a>"
    assert repr(Access(work=["10.0.0.0/8", "unix"], submit=[])) == (
        "<Access submit: none, work: 10.0.0.0/8 unix, admin: any, steer: loopback unix>")


# --- On sockets.


class Talk:
    """A connection that says bytes and wants bytes."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX) if isinstance(address, str) else socket.socket()
        self.socket.settimeout(20)
        self.socket.connect(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def packet(self, *arguments):
        """Send a request; return the type and the body of the answer."""
        self.socket.sendall(pack_request(*arguments))
        magic, kind, size = struct.unpack(">4sII", self._exactly(12))
        assert magic == b"\0RES"
        return kind, self._exactly(size)

    def line(self, text):
        """Send a text command; return the answer's first line."""
        self.socket.sendall(text + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            answer += self._exactly(1)
        return answer

    def end(self):
        """All that comes before the other end closes."""
        got = b""
        while True:
            data = self.socket.recv(1000)
            if not data:
                return got
            got += data

    def _exactly(self, size):
        got = b""
        while len(got) < size:
            data = self.socket.recv(size - len(got))
            assert data, got
            got += data
        return got


FORBIDDEN = (ERROR, b"FORBIDDEN\0This connection may not do that")
DENIED = b"ERR PERMISSION_DENIED This+connection+may+not+do+that\r\n"


def test_a_server_on_loopback_refuses_nothing_by_default():
    with Server(port=0) as server, Talk(server.address) as talk:
        assert talk.packet(18, b"f", b"", b"x")[0] == JOB_CREATED
        assert talk.packet(9)[0] == 10
        assert talk.line(b"maxqueue f 5") == b"OK\r\n"
        assert talk.line(b"shutdown") == b"OK\r\n"
        server.join(20)


def test_what_is_not_allowed_is_refused_and_the_connection_stays():
    with Server(port=0, access=Access(submit=[], work=["10.0.0.0/8"], steer=["unix"])) as server:
        with Talk(server.address) as talk:
            assert talk.packet(18, b"f", b"", b"x") == FORBIDDEN
            assert talk.packet(1, b"f") == FORBIDDEN
            assert talk.packet(9) == FORBIDDEN
            assert talk.line(b"status") == b".\n"
            for command in (b"shutdown", b"maxqueue f 5", b"create function f", b"drop function f", b"cancel job x"):
                assert talk.line(command) == DENIED
            assert talk.packet(16, b"still here") == (17, b"still here")


def test_who_may_nothing_is_turned_away():
    with Server(port=0, access=Access([], [], [])) as server, Talk(server.address) as talk:
        assert talk.end() == pack_response(ERROR, b"FORBIDDEN", b"Nothing is allowed to this connection")


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="this system does not tell the user of a Unix socket's peer")
@pytest.mark.parametrize("ours", [True, False])
def test_the_user_of_a_unix_sockets_peer(tmp_path, ours):
    uid = os.getuid() + (0 if ours else 1)
    path = str(tmp_path / "socket")
    with Server(listen=[path], access=Access(work=["uid:%d" % uid])), Talk(path) as talk:
        assert talk.packet(9) == ((10, b"") if ours else FORBIDDEN)
        assert talk.line(b"maxqueue f 5") == b"OK\r\n"


def test_a_system_that_does_not_tell_users_is_told_of(monkeypatch):
    monkeypatch.setattr("gearman_std.server.entrance.KNOWS_UIDS", False)
    with pytest.raises(ValueError) as caught:
        Server(port=0, access=Access(work=["uid:1"]))
    assert "does not tell which user" in str(caught.value)
