"""What the public calls of clients say about arguments that cannot be, and what their signatures show."""
import inspect

import pytest

from gearman_std.admin import AdminClient
from gearman_std.client import Client


def test_the_signatures_show_what_a_user_may_set():
    assert list(inspect.signature(Client).parameters) == [
        "servers", "connect_timeout", "command_timeout", "job_timeout", "serializer", "tls"]
    assert list(inspect.signature(AdminClient).parameters) == ["server", "timeout", "tls"]


@pytest.mark.parametrize("make, argument", [(Client, "connect_timeout"), (Client, "command_timeout"), (Client, "job_timeout"),
                                            (AdminClient, "timeout")])
@pytest.mark.parametrize("value, kind", [("5", TypeError), (float("nan"), ValueError), (-1, ValueError), ([], TypeError)])
def test_a_time_out_that_is_none_is_named(make, argument, value, kind):
    with pytest.raises(kind, match=argument + " is "):
        make("localhost", **{argument: value})


def test_a_time_out_beyond_all_floats_is_no_limit(make_client, serve):
    client = make_client(serve(), job_timeout=10 ** 400, command_timeout=10 ** 400)
    assert client.run("f", b"x", timeout=10 ** 400) == b"x"
