"""A server as scripts see it, and TLS by its three files."""
import os
import ssl

import pytest

from gearman_std.legacy import GearmanAdminClient, GearmanClient, GearmanWorker, errors
from gearman_std.legacy.connection import GearmanConnection
from gearman_std.testing import JobServer

from worker_tools import WAIT, AtWork

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CERTIFICATE, KEY = os.path.join(TESTS, "tls_certificate.pem"), os.path.join(TESTS, "tls_key.pem")


def test_a_host_is_wanted():
    with pytest.raises(errors.ServerUnavailable, match="no host was given"):
        GearmanConnection()


@pytest.mark.parametrize("files", range(8))
def test_tls_is_used_if_all_three_files_are_given(files):
    given = {name: name + ".pem" for bit, name in enumerate(("keyfile", "certfile", "ca_certs")) if files & 1 << bit}
    connection = GearmanConnection("localhost", 4731, **given)
    assert connection.use_ssl == (len(given) == 3)
    assert connection.get_address() == ("localhost", 4731)
    assert "port=4731" in repr(connection)


def test_one_that_is_not_connected_has_no_descriptor():
    with pytest.raises(errors.ConnectionError, match="<localhost:4730> no socket set"):
        GearmanConnection("localhost").fileno()


def test_one_of_nobody_can_be_connected_to_see_whether_the_server_is_there(server):
    connection = GearmanConnection(*server)
    assert not connection.connected and not connection.readable()
    connection.connect()
    assert connection.connected and connection.readable() and not connection.writable() and connection.fileno() > 0
    with pytest.raises(errors.ConnectionError, match="connection already established"):
        connection.connect()
    connection.close()
    assert not connection.connected
    with pytest.raises(errors.ConnectionError, match="<127.0.0.1:1> cannot connect"):
        GearmanConnection("127.0.0.1", 1).connect()


@pytest.fixture(scope="module")
def secure():
    """A server that speaks TLS and wants a certificate; how scripts name it."""
    with JobServer(tls={"certificate": CERTIFICATE, "key": KEY, "ca": CERTIFICATE}) as server:
        yield {"host": "127.0.0.1", "port": server.address[1], "keyfile": KEY, "certfile": CERTIFICATE, "ca_certs": CERTIFICATE}


def test_client_worker_and_admin_client_speak_tls_beside_one_that_does_not(secure, server):
    worker, client, admin = GearmanWorker([secure, server]), GearmanClient([secure]), GearmanAdminClient([secure])
    worker.register_task("secret", lambda worker, job: job.data[::-1])
    with AtWork(worker, poll_timeout=WAIT):
        assert client.submit_job("secret", "ab").result == b"ba"
        assert "secret" in [line["task"] for line in admin.get_status()]
        plain = GearmanClient([server])
        assert plain.submit_job("secret", "cd").result == b"dc"
        plain.shutdown()
    client.shutdown()
    admin.shutdown()


def test_what_is_wrong_with_the_files_or_the_server_is_told(secure, server, tmp_path):
    for word in ("keyfile", "certfile", "ca_certs"):
        client = GearmanClient([dict(secure, **{word: str(tmp_path / "none.pem")})])
        with pytest.raises(errors.ServerUnavailable, match=r"cannot use the certificates.* of .*none\.pem.*: No such file"):
            client.submit_job("f", "x")
        client.shutdown()
    worker = GearmanWorker([dict(secure, port=server[1])])
    worker.register_task("f", lambda worker, job: b"")
    with pytest.raises(errors.ServerUnavailable, match="Found no valid connections"):
        worker.work()


def test_the_host_is_compared_with_the_certificate_only_where_that_is_wanted():
    for wanted in (False, True):
        kind = type("Connection", (GearmanConnection,), {"check_hostname": wanted})
        context = kind("localhost", 4731, KEY, CERTIFICATE, CERTIFICATE).make_context()
        assert (context.check_hostname, context.verify_mode) == (wanted, ssl.CERT_REQUIRED)
