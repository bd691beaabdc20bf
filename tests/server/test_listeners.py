"""Listening: addresses, both families, Unix sockets and what is in their way, addresses that cannot be had."""
import errno
import os
import socket
import stat

import pytest

from gearman_std.net.addresses import show_address, split_address
from gearman_std.server.listeners import JOBS, WEB, Listener, names_for_browsers, open_listeners, read_places
from gearman_std.net.streams import KEEPALIVE

from server_tools import TIMEOUT


@pytest.fixture
def listen():
    """listen(spec, …, port=0) returns the listeners, which are closed when the test ends."""
    opened = []

    def listen(*specs, port=0, backlog=16, socket_mode=None):
        listeners = open_listeners(read_places(specs, port, False), backlog, socket_mode)
        opened.extend(listeners)
        return listeners
    yield listen
    for listener in opened:
        listener.close()


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")


def dial(address):
    """A socket connected to an address."""
    dialled = socket.socket(socket.AF_UNIX if isinstance(address, str) else
                            socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    dialled.settimeout(TIMEOUT)
    try:
        dialled.connect(address)
    except OSError:
        dialled.close()
        raise
    return dialled


def accept(listener):
    """The next connection, whose beginning may not be here yet."""
    import select
    assert select.select([listener.socket], [], [], TIMEOUT)[0]
    return listener.accept()


@pytest.mark.parametrize("spec, host", [
    ("127.0.0.1", "127.0.0.1"), ("127.0.0.1:0", "127.0.0.1"), (("127.0.0.1", 0), "127.0.0.1"), ("tcp:127.0.0.1", "127.0.0.1"),
    pytest.param("::1", "::1", marks=needs_ipv6), pytest.param("[::1]:0", "::1", marks=needs_ipv6)])
def test_a_connection_is_accepted_non_blocking_and_its_address_told(listen, spec, host):
    (listener,) = listen(spec)
    assert listener.address[0] == host and listener.address[1] > 0
    assert repr(listener) == "<Listener on %r>" % (listener.address,)
    with pytest.raises(BlockingIOError):
        listener.accept()
    with dial(listener.address):
        connection, facts = accept(listener)
        with connection:
            assert connection.gettimeout() == 0.0
            assert facts.address == host
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert listener.keepalive == KEEPALIVE


@needs_ipv6
def test_no_host_means_every_ipv4_and_ipv6_address_with_the_same_port(listen):
    listeners = listen("")
    assert sorted(listener.address[0] for listener in listeners) == ["0.0.0.0", "::"]
    assert len({listener.address[1] for listener in listeners}) == 1
    for host in ("127.0.0.1", "::1"):
        with dial((host, listeners[0].address[1])):
            listener = next(one for one in listeners if (":" in one.address[0]) == (":" in host))
            connection, facts = accept(listener)
            connection.close()
            assert facts.address == host


@needs_ipv6
def test_a_free_port_of_one_family_that_is_taken_in_the_other_is_not_the_end(listen, monkeypatch):
    """Port 0 tries others then."""
    from gearman_std.server import listeners as module
    real, failures = module._bind_tcp, []

    def bind(family, kind, protocol, address, backlog):
        if address[1] and len(failures) < 3:
            failures.append(address[1])
            raise OSError(errno.EADDRINUSE, "taken")
        return real(family, kind, protocol, address, backlog)
    monkeypatch.setattr(module, "_bind_tcp", bind)
    assert len(listen("")) == 2
    assert len(failures) == 3


def test_a_family_that_the_machine_does_not_have_is_left_out(listen, monkeypatch):
    from gearman_std.server import listeners as module
    real = module._bind_tcp

    def bind(family, *rest):
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no such family")
        return real(family, *rest)
    monkeypatch.setattr(module, "_bind_tcp", bind)
    (listener,) = listen("")
    assert listener.address[0] == "0.0.0.0"


def test_an_address_that_is_taken_is_an_error_that_names_it_and_closes_the_others(listen):
    (first,) = listen("127.0.0.1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()
    with pytest.raises(OSError, match=r"cannot listen on 127\.0\.0\.1 port %d" % first.address[1]) as caught:
        listen(free, first.address)
    assert caught.value.errno == errno.EADDRINUSE
    with pytest.raises(ConnectionRefusedError):
        dial(free)


def test_an_address_of_another_machine_cannot_be_had(listen):
    with pytest.raises(OSError, match="cannot listen on 192.0.2.1"):
        listen("192.0.2.1")


def test_a_port_can_be_had_again_at_once(listen):
    """Although a connection of the one before is in TIME_WAIT."""
    (listener,) = listen("127.0.0.1")
    with dial(listener.address) as dialled:
        connection, _ = accept(listener)
        connection.close()
        assert dialled.recv(1) == b""
    listener.close()
    (again,) = listen(listener.address)
    assert again.address == listener.address


# ----------------------------------------------------------------------------------------------------------- Unix sockets


@needs_unix
@pytest.mark.parametrize("prefix", ["", "unix:"])
def test_a_unix_socket(listen, tmp_path, prefix):
    path = str(tmp_path / "socket")
    (listener,) = listen(prefix + path)
    assert listener.address == path
    with dial(path):
        connection, facts = accept(listener)
        connection.close()
        assert facts.address == "" and facts.uid in (None, os.getuid())
    listener.close()
    assert not os.path.exists(path), "the file goes with the listener"
    listener.close()


@needs_unix
def test_a_file_that_the_present_user_may_not_remove_stays(listen, tmp_path, monkeypatch):
    """As when the server became another user after it had opened its sockets."""
    (listener,) = listen(str(tmp_path / "socket"))

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "unlink", refuse)
        listener.close()
    assert listener.socket.fileno() == -1


@needs_unix
def test_the_file_of_a_unix_socket_gets_the_mode_that_was_asked_for(listen, tmp_path):
    path = str(tmp_path / "socket")
    listen(path, socket_mode=0o620)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o620


@needs_unix
def test_the_file_that_a_killed_server_left_is_replaced(listen, tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(path)
        killed.listen(1)
    assert os.path.exists(path)
    (listener,) = listen(path)
    with dial(path):
        accept(listener)[0].close()


@needs_unix
def test_the_socket_of_a_server_that_lives_is_left_alone(listen, tmp_path):
    path = str(tmp_path / "socket")
    (first,) = listen(path)
    with pytest.raises(OSError, match="cannot listen on %s" % path) as caught:
        listen(path)
    assert caught.value.errno == errno.EADDRINUSE
    accept(first)[0].close()  # the look whether it lives
    with dial(path):
        accept(first)[0].close()


@needs_unix
def test_a_server_that_lives_but_is_too_busy_to_accept_is_not_waited_for(listen, tmp_path):
    path = str(tmp_path / "socket")
    (first,) = listen(path, backlog=1)
    waiting = []
    while True:
        one = socket.socket(socket.AF_UNIX)
        one.setblocking(False)
        waiting.append(one)
        try:
            one.connect(path)
        except BlockingIOError:
            break
    with pytest.raises(OSError) as caught:
        listen(path)
    assert caught.value.errno == errno.EADDRINUSE
    for one in waiting:
        one.close()
    accept(first)[0].close()


@needs_unix
@pytest.mark.parametrize("kind", ["file", "folder", "link to nothing"])
def test_what_is_no_socket_is_in_the_way_and_left_alone(listen, tmp_path, kind):
    path = tmp_path / "precious"
    if kind == "file":
        path.write_text("data")
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "nothing")
    with pytest.raises(OSError, match="cannot listen on") as caught:
        listen(str(path))
    assert caught.value.errno == errno.EADDRINUSE
    assert os.path.lexists(str(path))
    if kind == "file":
        assert path.read_text() == "data"


@needs_unix
def test_a_folder_that_is_not_there_is_an_error_that_names_the_path(listen, tmp_path):
    with pytest.raises(OSError, match="cannot listen on .*nowhere/socket: No such file"):
        listen(str(tmp_path / "nowhere" / "socket"))


@needs_unix
def test_when_a_later_address_cannot_be_had_the_unix_sockets_file_goes(listen, tmp_path):
    with pytest.raises(OSError):
        listen(str(tmp_path / "socket"), "192.0.2.1")
    assert os.listdir(str(tmp_path)) == []


@needs_unix
def test_what_a_unix_socket_cannot_be_named(tmp_path):
    with pytest.raises(ValueError, match="too long"):
        read_places(["/" + "x" * 200], 0, False)
    for scheme in ("tls:", "tcp:", "https:", "http:", "web:"):
        with pytest.raises(ValueError, match="Unix socket"):
            read_places([scheme + str(tmp_path / "socket")], 0, False)


def test_an_address_may_say_what_is_spoken_there():
    words = ["", "tcp:", "tls:", "http:", "https:", "web:", "webs:"]
    for secure in (False, True):
        places = read_places([word + "127.0.0.1:0" for word in words], 7, secure)
        here = ("127.0.0.1", 0)
        assert places == [(here, secure, ""), (here, False, ""), (here, True, ""), (here, False, JOBS), (here, True, JOBS),
                          (here, False, WEB), (here, True, WEB)]
    assert read_places(["http::8080", "https:x"], 7, False) == [(("", 8080), False, JOBS), (("x", 7), True, JOBS)]
    assert read_places(["web:8080", "webs:x:1", "web::2"], 7, False) == [
        (("127.0.0.1", 8080), False, WEB), (("x", 1), True, WEB), (("", 2), False, WEB)]


def test_a_browser_may_call_the_server_by_the_names_of_its_places():
    names = names_for_browsers(read_places(["web:Queue.example:80", "other:1"], 7, False))
    assert {"queue.example", "localhost"} <= names and "other" not in names


def test_a_listener_knows_what_is_spoken_there(listen):
    listeners = listen("http:127.0.0.1", "https:127.0.0.1", "127.0.0.1")
    assert [(listener.secure, listener.http) for listener in listeners] == [(False, JOBS), (True, JOBS), (False, "")]
    assert [repr(listener).partition(")")[2] for listener in listeners] == [", HTTP for jobs>", ", TLS, HTTP for jobs>", ">"]


# ------------------------------------------------------------------------------------------------------------------ trouble


class FakeListening:
    """A listening socket whose connections refuse their options."""

    family = socket.AF_INET

    def __init__(self, connection):
        self.connection = connection

    def setblocking(self, blocking):
        assert not blocking

    def getsockname(self):
        return ("127.0.0.1", 1)

    def accept(self):
        return self.connection, ("127.0.0.1", 2)


class FakeConnection:
    def __init__(self, error):
        self.open = True
        self.error = error

    def setblocking(self, blocking):
        assert not blocking

    def setsockopt(self, *_):
        raise self.error

    def shutdown(self, how):
        raise OSError(errno.ENOTCONN, "gone")

    def close(self):
        self.open = False


@pytest.mark.parametrize("error, told", [
    (OSError(errno.EINVAL, "gone"), ConnectionAbortedError), (MemoryError(), MemoryError)])
def test_a_connection_that_is_gone_before_it_is_set_up_counts_as_aborted_and_is_closed(error, told):
    connection = FakeConnection(error)
    with pytest.raises(told):
        Listener(FakeListening(connection)).accept()
    assert not connection.open


def test_the_zone_of_a_link_local_address_is_told(monkeypatch):
    monkeypatch.setattr(socket, "if_indextoname", {3: "eth3"}.__getitem__, raising=False)

    class Listening(FakeListening):
        def getsockname(self):
            return ("fe80::1", 4730, 0, 3)

        def accept(self):
            return self.connection, ("fe80::2", 5, 0, 3)
    connection = FakeConnection(None)
    connection.setsockopt = lambda *_: None
    listener = Listener(Listening(connection))
    assert listener.address == ("fe80::1%eth3", 4730)
    assert show_address(listener.address) == "[fe80::1%eth3]:4730"
    assert split_address(show_address(listener.address)) == listener.address
    _, facts = listener.accept()
    assert (facts.address, facts.shown, repr(facts)) == ("fe80::2", "fe80::2%eth3", "<PeerFacts fe80::2%eth3>")


@needs_unix
def test_the_socket_of_another_server_that_has_taken_the_path_stays(tmp_path):
    path = str(tmp_path / "socket")
    [first] = open_listeners(read_places([path], 0, False), 5)
    os.unlink(path)
    [second] = open_listeners(read_places([path], 0, False), 5)
    first.close()
    assert os.path.exists(path)
    second.close()
    assert not os.path.exists(path)


@needs_unix
def test_the_mode_is_set_where_there_is_no_proc(listen, tmp_path, monkeypatch):
    """As in a chroot."""
    monkeypatch.setattr("gearman_std.server.listeners._OWN_DESCRIPTORS", "/no/such/folder")
    listen(str(tmp_path / "sock"), socket_mode=0o666)
    assert stat.S_IMODE(os.stat(str(tmp_path / "sock")).st_mode) == 0o666


@pytest.mark.skipif(not hasattr(os, "O_PATH"), reason="this system cannot change the mode of what is there for sure")
def test_the_mode_is_given_to_the_socket_and_not_to_what_another_user_has_put_in_its_place(tmp_path, monkeypatch):
    theirs, path = tmp_path / "theirs", str(tmp_path / "socket")
    theirs.write_text("")
    before = theirs.stat().st_mode
    connect_to = os.open

    def replace_first(name, flags, *mode, **options):
        if name == path:
            os.unlink(path)
            os.symlink(str(theirs), path)
        return connect_to(name, flags, *mode, **options)
    monkeypatch.setattr(os, "open", replace_first)
    with pytest.raises(OSError, match="cannot listen on"):
        open_listeners(read_places([path], 0, False), 5, 0o666)
    assert theirs.stat().st_mode == before


@pytest.mark.parametrize("specs, port, error, text", [
    ([], 65536, ValueError, "port is 65536, more than 65535"),
    ([3], 4730, TypeError, "an address is a str or a (host, port) pair, not 3"),
    ([None], 4730, TypeError, "an address is a str or a (host, port) pair, not None"),
    (["tcp://127.0.0.1:1"], 4730, ValueError,
     "'tcp://127.0.0.1:1' is a URL; an address is host, host:port, [::1]:port or unix:/path"),
])
def test_what_is_no_place_to_listen_is_refused_by_name(specs, port, error, text):
    with pytest.raises(error) as caught:
        read_places(specs, port, False)
    assert str(caught.value) == text
