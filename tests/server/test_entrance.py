"""The way in: who is turned away and told why, and what a fault at the entrance costs."""
import socket

from gearman_std.server.access import Access
from gearman_std.wire.protocol import ECHO_REQ, ECHO_RES, ERROR

from server_tools import in_dispatcher
from test_channels import is_served
from test_tls_choke import CERTIFICATE


def test_connections_over_the_limit_are_told_so_and_there_is_room_again_when_one_leaves(place):
    server = place.serve(max_connections=2)
    first, second = place.wire(server), place.wire(server)
    is_served(first)
    is_served(second)
    third = place.wire(server)
    third.response(ERROR, b"TOO_MANY_CONNECTIONS", b"The server has no room for another connection")
    third.ended()
    assert first.totals()["connections_refused"] == 1
    second.half_close()
    second.ended()
    is_served(place.wire(server))


def test_who_has_still_to_agree_on_tls_takes_room_too(place):
    server = place.serve(listen=["tcp:127.0.0.1", "tls:127.0.0.1"], max_connections=1, tls=CERTIFICATE)
    plain, secure = server.addresses
    with socket.create_connection(secure):
        while not in_dispatcher(server, lambda: server._entrance.handshakes.open):
            continue
        refused = place.wire(plain)
        refused.response(ERROR, b"TOO_MANY_CONNECTIONS", b"The server has no room for another connection")
        refused.ended()
    while in_dispatcher(server, lambda: server._entrance.handshakes.open):
        continue
    is_served(place.wire(plain))


def test_who_may_do_nothing_is_told_so_also_by_http(place):
    nobody = ["none"]
    server = place.serve(listen=["127.0.0.1", "http:127.0.0.1"],
                         access=Access(submit=nobody, work=nobody, admin=nobody, steer=nobody))
    wire, web = map(place.wire, server.addresses)
    wire.response(ERROR, b"FORBIDDEN", b"Nothing is allowed to this connection")
    wire.ended()
    assert web.line() == b"HTTP/1.1 403 Forbidden\r\n"
    web.broken()
    assert in_dispatcher(server, lambda: server.core.counters["connections_forbidden"]) == 2


def test_a_fault_at_the_entrance_costs_that_connection(place, monkeypatch):
    server = place.serve()
    bystander = place.wire(server)
    is_served(bystander)
    connect = server.core.connect

    def fail_once(peer, rights):
        server.core.connect = connect
        raise MemoryError
    in_dispatcher(server, setattr, server.core, "connect", fail_once)
    place.wire(server).ended()
    wire = place.wire(server)
    wire.request(ECHO_REQ, b"as before")
    wire.response(ECHO_RES, b"as before")
    is_served(bystander)
    assert server.core.counters["faults"] == 1
    server.core.counters["faults"] = 0
