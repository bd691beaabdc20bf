"""What a call says about an argument that cannot be, and that every constructor says it."""
import inspect
import itertools
import time
from decimal import Decimal
from fractions import Fraction

import pytest

import gearman_std
from gearman_std.arguments import as_float, check_callable, check_kind, check_number
from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.server.access import Access
from gearman_std.server.server import Server
from gearman_std.store.sqlite import JobStore
from gearman_std.testing import ImmediateClient
from gearman_std.worker.command import Command
from gearman_std.worker.job import Retry
from gearman_std.worker.worker import Worker


NAN = float("nan")


@pytest.mark.parametrize("value, least, whole", [(0, 0, True), (7, 1, True), (1.5, 0, False), (True, 0, True),
                                                 (float("inf"), 0, False), (10 ** 400, 0, True)])
def test_a_number_is_one(value, least, whole):
    assert check_number("n", value, least, whole) == value


@pytest.mark.parametrize("value, number", [(Decimal("0.5"), 0.5), (Fraction(1, 2), 0.5), (10 ** 400, float("inf")), (7, 7)])
def test_a_number_of_any_kind_can_be_added_to_seconds(value, number):
    assert as_float(value) == number == check_number("n", value)
    assert as_float(-value) == -number and time.monotonic() + check_number("n", value) > 0


@pytest.mark.parametrize("value, least, whole, text", [
    ("x", 0, False, "n is 'x', not a number"), ("5", 0, True, "n is '5', not a whole number"),
    (1.5, 0, True, "n is 1.5, not a whole number"), (-1, 0, True, "n is -1, less than 0"), (NAN, 0, False, "n is nan, less"),
    (None, 0, False, "n is None, not a number"), ([], 0, False, "n is [], not a number"), (b"5", 0, False, "n is b'5', not a"),
    (1j, 0, False, "n is 1j, not a number"), (Decimal("snan"), 0, False, "n is Decimal('sNaN'), less")])
def test_what_is_no_number_is_named(value, least, whole, text):
    with pytest.raises((TypeError, ValueError)) as caught:
        check_number("n", value, least, whole)
    assert text in str(caught.value)


@pytest.mark.parametrize("name, value", [("port", 65536), ("backlog", 1 << 31), ("socket_mode", 0o10000),
                                         ("keepalive", (32768, 1, 1)), ("keepalive", (1, 32768, 1)),
                                         ("keepalive", (1, 1, 128))])
def test_what_the_system_would_refuse_later_is_refused_at_the_call(name, value):
    with pytest.raises(ValueError, match="%s is .*, more than " % name):
        Server(**{"port": 0, name: value})


def test_kinds_and_callables():
    check_kind("x", {}, dict, "a dict")
    check_callable("f", len)
    with pytest.raises(TypeError, match="x is 'text', not a dict"):
        check_kind("x", "text", dict, "a dict")
    with pytest.raises(TypeError, match="f is 5, which cannot be called"):
        check_callable("f", 5)


# What each may be, of those below; all else is refused.
MAY_BE = {
    Server: {"port": [7], "listen": [], "backlog": [7], "handle_prefix": [None, "x", b"x"], "wakeup": [None, 7],
             "policy": [None], "policies": [None, {}], "limits": [None], "max_packet_size": [7], "max_line_size": [7],
             "max_connections": [7], "max_unsent": [7], "stall_timeout": [7, 1.5], "handshake_timeout": [7, 1.5],
             "access": [None], "tls": [None], "keepalive": [], "socket_mode": [None, 7], "version": ["x"], "verbosity": ["x"]},
    Worker: {"servers": [None, "x"], "threads": [7], "client_id": [None, "x", b"x"], "grace": [None, 7, 1.5],
             "max_jobs": [None, 7], "max_age": [None, 7, 1.5], "splay": [7, 1.5], "serializer": [None],
             "connect_timeout": [None, 7, 1.5], "tls": [None, {}], "watch": [None]},
    Limits: dict.fromkeys(inspect.signature(Limits).parameters, [7]),
    FunctionPolicy: {"coalescing": [], "retries": [7], "attempts": [7], "backoff": [7, 1.5], "backoff_max": [7, 1.5]},
    Access: dict.fromkeys(["submit", "work", "admin", "steer"], [None, {}]),
    Command: {"timeout": [None, 7, 1.5], "argv": [], "cwd": [None, "x", b"x"], "env": [None, {}, {"a": 1}]},
    Client: {"servers": [None, "x"], "connect_timeout": [None, 7, 1.5], "command_timeout": [None, 7, 1.5],
             "job_timeout": [None, 7, 1.5], "serializer": [None], "tls": [None, {}]},
    AdminClient: {"server": [None, "x"], "timeout": [None, 7, 1.5], "tls": [None, {}]},
    ImmediateClient: {"functions": [None, {}]},
    JobStore: {"path": ["x", b"x"], "durability": [], "gearmand_queue": [None]},
    Retry: {"after": [7, 1.5], "text": ["x"], "attempts": [None, 7]},
}
VALUES = ["x", b"x", None, 7, -7, 1.5, NAN, {"a": 1}, {}, object()]


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in MAY_BE.items() for name in names],
                         ids=lambda part: getattr(part, "__name__", part))
def test_every_constructor_refuses_what_cannot_be(kind, name):
    needed = {Command: {"argv": ["true"]}, Server: {"port": 0}, JobStore: {"path": "x"}}.get(kind, {})
    for value in VALUES:
        arguments = dict(needed, **{name: value})
        if any(type(value) is type(one) and value == one for one in MAY_BE[kind][name]):
            kind(**arguments)
        else:
            with pytest.raises((TypeError, ValueError)) as caught:
                kind(**arguments)
            assert str(caught.value)


@pytest.mark.parametrize("value, number", [(Decimal("2.5"), 2.5), (Fraction(5, 2), 2.5), (10 ** 400, float("inf"))])
def test_seconds_that_were_given_as_a_number_of_another_kind_can_be_calculated_with(value, number):
    worker = Worker("h", grace=value, max_age=value, splay=value, connect_timeout=value)
    worker.register("f", len, timeout=value)
    policy = FunctionPolicy(backoff=value, backoff_max=value, keep=value)
    numbers = [worker.grace, worker.max_age, worker.splay, worker.connect_timeout,
               policy.backoff, policy.backoff_max, policy.keep]
    assert numbers == [number] * 7 and {type(one) for one in numbers} == {float}
    limits = [worker.abilities[b"f"].timeout, Command(["true"], timeout=value).timeout, AdminClient("h", value).timeout,
              Client("h", job_timeout=value).job_timeout, Client("h", command_timeout=value).command_timeout]
    assert limits == [None if number == float("inf") else number] * 5, "what is endless is no limit"
    assert policy.delay(3, 0.5) >= 2.5


@pytest.mark.parametrize("call, text", [
    (lambda: Client(["h", 5.5]), "servers: an address is a str or a (host, port) pair, not 5.5"),
    (lambda: Client("h:x"), "servers: the port of 'h:x'"), (lambda: Client(""), "servers: no job server"),
    (lambda: Client("h:0"), "servers: nobody can listen on port 0"), (lambda: Client(":7"), "servers: an address without "),
    (lambda: Client(5), "servers is 5"), (lambda: Worker("tcp://h"), "servers: 'tcp://h' is a URL"),
    (lambda: AdminClient(["h", "\ud800"]), "server: "),
    (lambda: Client("h").status("H:1", "a b"), "server: not an address: 'a b'"),
    (lambda: Client("h").run("f", timeout=-5), "timeout is -5; a time-out is not less than 0"),
    (lambda: Client("h").submit("f", connect_timeout=-5), "connect_timeout is -5; a time-out is not less than 0"),
    (lambda: Server(port=0, store=""), "store is ''"), (lambda: Server(port=0, store=5), "store is 5, not a path"),
    (lambda: JobStore(""), "path is ''"),
])
def test_a_text_begins_with_the_arguments_name(call, text):
    with pytest.raises((TypeError, ValueError)) as caught:
        call()
    assert str(caught.value).startswith(text)


def test_what_is_registered_can_be_called():
    worker = Worker("h")
    for wrong in (5, "f"):
        with pytest.raises(TypeError, match="the hook error is .*, which cannot be called"):
            worker.hook("error", wrong)
        with pytest.raises(TypeError, match="abandon is .*, which cannot be called"):
            worker.register("f", len, abandon=wrong)
        with pytest.raises(TypeError, match="cannot be called"):
            worker.register("f", wrong)


def test_a_policy_is_a_policy():
    for policies in ({"f": "join"}, {"f": {"attempts": 2}}, {"f": None}):
        with pytest.raises(TypeError, match="the policy of 'f' is .*, not a FunctionPolicy"):
            Server(port=0, policies=policies)
    for name, kind in ((5, TypeError), ("", ValueError)):
        with pytest.raises(kind, match="function name"):
            Server(port=0, policies={name: FunctionPolicy()})


def test_a_server_takes_nothing_that_it_does_not_know():
    with pytest.raises(TypeError, match="'wal_clock'"):
        Server(port=0, wal_clock=lambda: 5.0)


def test_the_signatures_show_nothing_that_only_tests_set():
    public = [getattr(gearman_std, name) for name in gearman_std.__all__]
    kinds = [kind for kind in public if inspect.isclass(kind) and not issubclass(kind, Exception)]
    assert {Server, Worker, Client, JobStore} <= set(kinds)
    for kind, hidden in itertools.product(kinds, ("clock", "wall_clock", "random", "sleep", "connect", "make_selector",
                                                  "migrations")):
        assert hidden not in inspect.signature(kind).parameters, "%s takes %s" % (kind.__name__, hidden)
