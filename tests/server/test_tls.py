"""TLS on the server's side: who gets in, who is kept out, and that nobody waits for a handshake of others."""
import errno
import logging
import os
import selectors
import socket
import ssl
import subprocess
import threading
from collections import Counter

import pytest

from gearman_std.server.access import Access
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.net.connection import open_connection
from gearman_std.errors import GearmanError, NoServer, ServerLost
from gearman_std.wire.protocol import LARGE_BODY, pack_request, pack_response
from gearman_std.server.server import Server
from gearman_std.net.streams import TLSStream
from gearman_std.server.tls import ServerTLS
from gearman_std.worker.worker import Worker
from patience import until
from server_tools import VERSION_LINE, Clock, HeldServer, in_dispatcher, receive, server_of

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")


def file(name):
    return os.path.join(FILES, name + ".pem")


SERVER = {"certificate": file("server")}
CHECKING = dict(SERVER, ca=file("ca"))
TRUSTING = {"ca": file("ca")}
OPERATOR = dict(TRUSTING, certificate=file("client"))
ECHO, ECHOED = pack_request(16, b"hello"), pack_response(17, b"hello")


def tls_socket(address, **options):
    """A connection of the standard library's own."""
    context = ssl.create_default_context(cafile=file("ca"))
    plain = socket.create_connection(address, 20)
    return context.wrap_socket(plain, server_hostname="localhost", **options)


def echo(address, tls):
    """Whether the server answers."""
    with AdminClient(address, tls=tls) as admin:
        return bool(admin.version())


# --- Work.


@pytest.mark.parametrize("size", [0, 100, 16384, 70000, 3000000])
def test_jobs_go_both_ways_through_tls(size):
    workload = os.urandom(size)
    with Server(port=0, tls=SERVER) as server:
        worker = Worker([server.address], tls=TRUSTING)
        worker.register("reverse", lambda job: job.workload[::-1])
        thread = threading.Thread(target=worker.work)
        thread.start()
        try:
            with Client([server.address], tls=TRUSTING) as client, AdminClient(server.address, tls=TRUSTING) as admin:
                assert client.run("reverse", workload) == workload[::-1]
                assert list(client.map("reverse", [b"ab"] * 100)) == [b"ba"] * 100
                assert [status.function for status in admin.status()] == [b"reverse"]
        finally:
            worker.stop()
            thread.join(20)


def test_what_tls_has_taken_from_the_socket_is_not_forgotten():
    """The end of a large packet and the next packet in one record: the selector sees nothing of the second."""
    large = pack_request(16, bytes(LARGE_BODY + 20000))
    with Server(port=0, tls=SERVER) as server, tls_socket(server.address) as connection:
        connection.sendall(large[:-9000])
        until(lambda: [channel.reader.held for channel in list(server._channels.all)] == [len(large) - 9000])
        connection.sendall(large[-9000:] + ECHO)
        assert receive(connection, len(large)) == b"\0RES" + b"\0\0\0\x11" + large[8:]
        assert receive(connection, len(ECHOED)) == ECHOED


def test_a_slow_reader_gets_everything():
    with Server(port=0, tls=SERVER) as server, tls_socket(server.address) as connection:
        for number in range(50):
            connection.sendall(pack_request(16, bytes([number]) * 200000))
        for number in range(50):
            assert receive(connection, 200012)[12:] == bytes([number]) * 200000


def test_who_sends_nothing_more_is_answered():
    with Server(port=0, tls=SERVER) as server, tls_socket(server.address) as connection:
        connection.sendall(b"version\n")
        with socket.socket(fileno=os.dup(connection.fileno())) as below:
            below.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == VERSION_LINE


def test_the_server_says_farewell():
    """So that the other end knows that nothing was cut off."""
    with Server(port=0, tls=SERVER) as server:
        with tls_socket(server.address, suppress_ragged_eofs=False) as connection:
            connection.sendall(b"one two three four five six\n")
            assert connection.recv(100) == b""


def test_who_is_told_off_while_it_sends_hears_why():
    """What it still sends is taken and thrown away, or the system would throw away the answer."""
    with Server(port=0, tls=SERVER, max_packet_size=1000) as server, tls_socket(server.address) as connection:
        connection.sendall(pack_request(16, bytes(3000000)))
        assert b"TOO_LARGE" in connection.recv(1000)
        assert connection.recv(1000) == b""


def test_who_speaks_tls_where_none_is_spoken_hears_so_at_once():
    with Server(port=0) as server, pytest.raises(NoServer, match="(?i)ssl|tls|eof|reset"):
        with Client([server.address], tls=TRUSTING, connect_timeout=20) as client:
            client.ping()


# --- Who gets in.


@pytest.mark.parametrize("tls, why", [
    ({"ca": file("client")}, "verify failed"), (True, "verify failed"), (dict(TRUSTING, hostname="elsewhere.example"), "match"),
])
def test_the_client_keeps_away_from_servers_that_it_does_not_trust(tls, why):
    with Server(port=0, tls=SERVER) as server:
        with pytest.raises(NoServer) as caught:
            open_connection(server.address, 20, tls)
        assert why in str(caught.value)


def test_an_expired_certificate():
    with Server(port=0, tls={"certificate": file("expired")}) as server:
        with pytest.raises(NoServer) as caught:
            open_connection(server.address, 20, TRUSTING)
        assert "verify failed" in str(caught.value)
        assert echo(server.address, {"verify": False})


def test_a_certificate_may_be_required():
    with Server(port=0, tls=dict(CHECKING, required=True)) as server:
        assert echo(server.address, OPERATOR)
        for tls in (TRUSTING, dict(TRUSTING, certificate=file("stranger"))):
            with pytest.raises((NoServer, ServerLost)):
                echo(server.address, tls)
        until(lambda: server.core.counters["tls_handshakes_failed"] == 2)


def test_a_certificate_that_is_not_required_must_be_good_all_the_same():
    with Server(port=0, tls=CHECKING) as server:
        assert echo(server.address, OPERATOR)
        assert echo(server.address, TRUSTING)
        with pytest.raises((NoServer, ServerLost)):
            echo(server.address, dict(TRUSTING, certificate=file("stranger")))


@pytest.mark.parametrize("name", ["operator", "operator.example", "operator@example.org"])
def test_certificates_give_rights(name):
    with Server(port=0, tls=CHECKING, access=Access(steer=["cert:" + name])) as server:
        with AdminClient(server.address, tls=TRUSTING) as admin:
            with pytest.raises(GearmanError) as caught:
                admin.max_queue("f", 5)
            assert "PERMISSION_DENIED" in str(caught.value)
        with AdminClient(server.address, tls=OPERATOR) as admin:
            admin.max_queue("f", 5)


def test_a_name_in_a_certificate_that_nobody_checks_gives_none():
    with pytest.raises(ValueError):
        Server(port=0, tls=SERVER, access=Access(work=["cert:operator"]))
    with pytest.raises(ValueError):
        Server(port=0, access=Access(work=["cert:operator"]))


def test_every_address_for_itself(tmp_path):
    """A Unix socket and a plain port may stand beside a port with TLS."""
    path = str(tmp_path / "socket")
    listen = ["tcp:127.0.0.1", "127.0.0.1", path] if hasattr(socket, "AF_UNIX") else ["tcp:127.0.0.1", "127.0.0.1"]
    with Server(port=0, listen=listen, tls=SERVER) as server:
        plain, secure = server.addresses[:2]
        assert echo(plain, None) and echo(secure, TRUSTING)
        assert path not in listen or echo(path, None)
        with pytest.raises(NoServer):
            open_connection(plain, 0.2, TRUSTING)


def test_tls_may_be_for_one_address_only():
    with pytest.raises(ValueError):
        Server(port=0, listen=["tls:127.0.0.1"])
    with pytest.raises(ValueError):
        Server(port=0, listen=["tls:/tmp/socket"], tls=SERVER)


# --- Who does harm.


def test_a_plaintext_peer_is_closed_and_told_of(caplog):
    caplog.set_level(logging.WARNING, "gearman_std.server")
    with Server(port=0, tls=SERVER) as server:
        with socket.create_connection(server.address, 20) as plain:
            plain.sendall(b"status\n")
            try:
                while plain.recv(100):
                    continue
            except ConnectionResetError:
                pass
        assert echo(server.address, TRUSTING)
        until(lambda: server.core.counters.get("tls_handshakes_failed") == 1)
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["no TLS with 127.0.0.1"]


def test_silent_peers_are_closed_in_time_and_nobody_waits_for_them(caplog):
    caplog.set_level(logging.WARNING, "gearman_std.server")
    with Server(port=0, tls=SERVER, handshake_timeout=0.2) as server:
        silent = [socket.create_connection(server.address, 20) for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01")  # how a handshake begins
        assert echo(server.address, TRUSTING)
        for one in silent:
            assert one.recv(1) == b""
            one.close()
        until(lambda: server.core.counters["tls_handshakes_failed"] == 20)
    assert "nothing agreed after 0.2 s" in caplog.text


def test_a_peer_that_leaves_during_the_handshake():
    with Server(port=0, tls=SERVER) as server:
        for _ in range(5):
            socket.create_connection(server.address, 20).close()
        assert echo(server.address, TRUSTING)


def test_handshakes_count_as_connections():
    with Server(port=0, tls=SERVER, max_connections=3) as server:
        silent = [socket.create_connection(server.address, 20) for _ in range(3)]
        with socket.create_connection(server.address, 20) as late:
            assert b"TOO_MANY_CONNECTIONS" in late.recv(1000)
        for one in silent:
            one.close()


def test_open_handshakes_end_with_the_server():
    with Server(port=0, tls=SERVER) as server:
        with socket.create_connection(server.address, 20) as silent:
            assert echo(server.address, TRUSTING)
            server.stop()
            assert silent.recv(1) == b""


class Full(selectors.DefaultSelector):
    """Watches no connection that begins with TLS while `full`."""

    full = True

    def register(self, fileobj, events, data=None):
        if self.full and hasattr(data, "tls"):
            raise OSError(errno.ENOSPC, "no space left")
        return super().register(fileobj, events, data)


def test_a_system_that_watches_no_more_sockets(caplog):
    caplog.set_level(logging.WARNING, "gearman_std.server")
    full = Full()
    with server_of(tls=SERVER, make_selector=lambda: full) as server:
        with pytest.raises((NoServer, ServerLost)):
            echo(server.address, TRUSTING)
        full.full = False
        assert echo(server.address, TRUSTING)
        assert server.core.counters["tls_handshakes_failed"] == 1
    assert "no space left" in caplog.text


class Crossed:
    """An SSL socket that has to receive before it can send, until `relieved`, and counts how often it was tried."""

    def __init__(self, wrapped):
        self._wrapped = wrapped
        self.relieved = threading.Event()
        self.tried = threading.Event()
        self.tries = 0

    def __getattr__(self, name):
        return getattr(self._wrapped, name)

    def send(self, data):
        self.tries += 1
        self.tried.set()
        if not self.relieved.is_set():
            raise ssl.SSLWantReadError
        return self._wrapped.send(data)


class CrossedTLS(ServerTLS):
    """Its one connection is Crossed."""

    def wrap(self, connected):
        self.crossed = Crossed(super().wrap(connected)._socket)
        return TLSStream(self.crossed)


def test_sending_may_have_to_wait_for_something_to_receive():
    """A renegotiation: the socket can be written all the time, but TLS has to read first."""
    tls = CrossedTLS(SERVER)
    with Server(port=0, listen=["127.0.0.1", "tcp:127.0.0.1"], tls=tls) as server, tls_socket(server.address) as connection:
        connection.sendall(ECHO)
        assert tls.crossed.tried.wait(20)
        for _ in range(100):
            assert echo(server.addresses[1], None)
        assert tls.crossed.tries < 10, "it was tried again and again"
        tls.crossed.relieved.set()
        connection.sendall(ECHO)
        assert receive(connection, 2 * len(ECHOED)) == 2 * ECHOED


# --- Settings and files.


@pytest.mark.parametrize("settings, error", [
    ({}, ValueError), ({"certificate": file("server"), "cert": "x"}, ValueError), ("server.pem", ValueError),
    (dict(SERVER, required=True), ValueError), ({"certificate": "/no/such/file"}, OSError),
    (dict(SERVER, ca="/no/such/file"), OSError), ({"certificate": file("ca")}, OSError),
    (dict(SERVER, key=file("client")), OSError), (dict(SERVER, ca=os.devnull), OSError),
])
def test_settings_that_cannot_be(settings, error):
    with pytest.raises(error) as caught:
        ServerTLS(settings)
    assert error is ValueError or "cannot use" in str(caught.value)


def test_an_encrypted_key_is_refused_rather_than_asked_about(tmp_path, require):
    path = str(tmp_path / "key.pem")
    subprocess.check_call([require("openssl"), "ec", "-in", file("server"), "-aes128", "-passout", "pass:secret", "-out", path],
                          stderr=subprocess.DEVNULL)
    with pytest.raises(OSError) as caught:
        ServerTLS(dict(SERVER, key=path))
    assert "encrypted" in str(caught.value)


def test_a_context_of_ones_own():
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(file("server"))
    with Server(port=0, tls=context) as server:
        assert echo(server.address, TRUSTING)
        server.reload()
        assert echo(server.address, TRUSTING)


def certificate_name(address):
    with tls_socket(address) as connection:
        return dict(part[0] for part in connection.getpeercert()["subject"])["commonName"]


def test_the_files_are_read_again_when_told(tmp_path, caplog):
    path = tmp_path / "pem"
    write = path.write_bytes

    def read(name):
        with open(file(name), "rb") as opened:
            return opened.read()
    write(read("server"))
    with Server(port=0, tls={"certificate": str(path)}) as server, tls_socket(server.address) as old:
        assert certificate_name(server.address) == "server.example"
        write(read("renewed"))
        assert certificate_name(server.address) == "server.example"
        server.reload()
        until(lambda: certificate_name(server.address) == "renewed.example")
        write(b"rubbish")
        server.reload()
        until(lambda: "going on with what was read before" in caplog.text)
        assert certificate_name(server.address) == "renewed.example"
        old.sendall(ECHO)
        assert receive(old, len(ECHOED)) == ECHOED


def test_a_crowd_that_agrees_on_tls_gets_some_of_each_round(monkeypatch):
    """In which others are served, too."""
    monkeypatch.setattr("gearman_std.server.tls.HANDSHAKE_TIME", 0.0025)
    clock = Clock(step=0.001)  # so that each handshake takes a millisecond, each time that it goes on
    with server_of(tls=SERVER, clock=clock) as server:
        went_on = []
        handshakes = server._entrance.handshakes
        proceed = handshakes._proceed
        told = []
        can_go_on = handshakes.can_go_on
        monkeypatch.setattr(handshakes, "_proceed", lambda handshake: (went_on.append(server.core.now), proceed(handshake)))
        monkeypatch.setattr(handshakes, "can_go_on", lambda handshake: (told.append(handshake), can_go_on(handshake)))
        crowd = [socket.create_connection(server.address, 20) for _ in range(20)]
        context = ssl.create_default_context(cafile=file("ca"))
        streams = [context.wrap_socket(one, server_hostname="localhost", do_handshake_on_connect=False) for one in crowd]
        with HeldServer(server):
            for one in streams:
                one.setblocking(False)
                with pytest.raises(ssl.SSLWantReadError):
                    one.do_handshake()
        for one in streams:
            one.settimeout(20)
            one.do_handshake()
            one.sendall(ECHO)
            assert receive(one, len(ECHOED)) == ECHOED
            one.close()
        assert len(went_on) >= 20 and max(Counter(went_on).values()) <= 3
        assert len(told) == len(went_on), "who waits for its turn is not looked at in each round"


def test_who_has_sent_nothing_yet_has_no_tls_which_takes_much_memory():
    def begun():
        return in_dispatcher(server, lambda: [handshake.tls is None for handshake in server._entrance.handshakes.open])
    with Server(port=0, tls=SERVER) as server:
        with socket.create_connection(server.address, 20) as silent:
            assert echo(server.address, TRUSTING)
            assert begun() == [False]
            silent.sendall(b"\x16\x03\x01\x02\x00")
            until(lambda: begun() == [True])
            silent.sendall(b"no hello")
            assert b"" == silent.recv(100)[7:]
        assert echo(server.address, TRUSTING)
