"""How people write the address of a job server."""
import socket

import pytest

from gearman_std.net.addresses import join_address, machine_name, split_address, split_servers
from gearman_std.server.server import Server


@pytest.mark.parametrize("spec, address", [
    ("gear", ("gear", 4730)),
    ("gear:99", ("gear", 99)),
    ("gear:", ("gear", 4730)),
    ("10.0.0.1:99", ("10.0.0.1", 99)),
    ("[::1]:99", ("::1", 99)),
    ("[::1]", ("::1", 4730)),
    ("::1", ("::1", 4730)),
    (("gear", 99), ("gear", 99)),
    (["gear", "99"], ("gear", 99)),
    ("/run/gear.sock", ("/run/gear.sock", 0)),
    ("unix:/run/gear.sock", ("/run/gear.sock", 0)),
    ("/run/with a blank", ("/run/with a blank", 0)),
    ("/run/\udcff", ("/run/\udcff", 0)),
    ("[fe80::1%eth0]:99", ("fe80::1%eth0", 99)),
    ("fe80::1%wg-0:1", ("fe80::1%wg-0:1", 4730)),
    ("::ffff:10.0.0.1", ("::ffff:10.0.0.1", 4730)),
])
def test_an_address_has_many_forms(spec, address):
    assert split_address(spec) == address
    assert split_address(join_address(address)) == address


def test_the_default_port_may_be_another():
    assert split_address("gear", 99) == ("gear", 99)


@pytest.mark.parametrize("spec", ["gear:http", "gear:-1", "gear:65536", "[::1]x", "[::1", "a\0b", "a b", "x" * 300,
                                  "/" + "x" * 200, ("gear", None), "gear:٣", "unix:", "unix:gear.sock", "tcp://gear:4730",
                                  "http://gear", "gear/", "gear:1:2", "gear:x:", "me@gear", "gear\t", "a,b", ("gear", "x"),
                                  ("gear:1", 2), ("gear", True), "[gear:1]", "[::x]:1", "\udcff\n"])
def test_what_is_no_address_is_a_value_error(spec):
    with pytest.raises(ValueError):
        split_address(spec)


@pytest.mark.parametrize("spec", [None, 4730, b"gear", ("gear",), (1, 2)])
def test_an_address_is_text_or_a_pair(spec):
    with pytest.raises(TypeError):
        split_address(spec)


@pytest.mark.parametrize("servers, addresses", [
    ("a,b:1, [::1]:2 ,", [("a", 4730), ("b", 1), ("::1", 2)]),
    (["a", ("b", 1)], [("a", 4730), ("b", 1)]),
    (("a", "b"), [("a", 4730), ("b", 4730)]),
    (("a", 1), [("a", 1)]),
    (("a", "1"), [("a", 1)]),
    (["a", 1], [("a", 1)]),
    (["a", "1"], [("a", 1)]),  # as JSON and files of settings have it
    (["1", "a"], [("1", 4730), ("a", 4730)]),
    ("a,a:4730", [("a", 4730)]),
    ("unix:/run/gear.sock", [("/run/gear.sock", 0)]),
])
def test_servers_are_a_list_or_a_string_with_commas(servers, addresses):
    assert split_servers(servers, {"GEARMAN_SERVERS": "elsewhere"}) == addresses


def test_servers_not_named_come_from_the_environment():
    assert split_servers(None, {"GEARMAN_SERVERS": "a:1,b"}) == [("a", 1), ("b", 4730)]
    assert split_servers(None, {}) == split_servers(None, {"GEARMAN_SERVERS": ""}) == [("localhost", 4730)]


@pytest.mark.parametrize("servers", ["", ",", [], [":4730"], ["unix:"], "a:0", [""]])
def test_no_server_is_a_value_error(servers):
    with pytest.raises(ValueError):
        split_servers(servers, {})


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match="'tcp://gear:4730' is a URL; an address is host, host:port"):
        split_servers("tcp://gear:4730", {})
    with pytest.raises(ValueError, match="the port of 'gear:x' is not a number"):
        split_servers(["a", "gear:x"], {})
    for servers in (5, b"gear", 4730.0, True):
        with pytest.raises(TypeError, match="server is .*, not an address"):
            split_servers(servers, {}, "server")


@pytest.mark.parametrize("hostname, name", [("host-1", "host-1"), ("", "localhost"), (" \t", "__"), ("b\u00fcro", "b_ro"),
                                            ("\udce9\udcff", "__"), ("a b\0c", "a_b_c"), ("x" * 200, "x" * 200)])
def test_an_odd_hostname_is_shown_as_far_as_it_can_be(monkeypatch, hostname, name):
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    assert machine_name() == name
    with Server(port=0) as server:
        assert server.core.handle_prefix.startswith(b"H:" + name[:40].encode())
