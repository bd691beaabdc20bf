"""What a client, a worker and an admin client have in common."""
import pytest

from gearman_std.legacy import DataEncoder, GearmanAdminClient, GearmanClient, GearmanWorker, errors
from gearman_std.legacy.connection import GearmanConnection
from gearman_std.legacy.connection_manager import GearmanConnectionManager, NoopEncoder

KINDS = [GearmanClient, GearmanWorker, GearmanAdminClient]
TLS = {"host": "localhost", "port": 5000, "keyfile": "key.pem", "certfile": "cert.pem", "ca_certs": "ca.pem"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spec, address", [
    ("localhost", ("localhost", 4730)), ("localhost:4731", ("localhost", 4731)), (("localhost", 4731), ("localhost", 4731)),
    (("localhost", "4731"), ("localhost", 4731)), ("[::1]:4731", ("::1", 4731)), ("unix:/run/g.sock", ("/run/g.sock", 0)),
    (TLS, ("localhost", 5000))])
def test_a_server_is_written_in_any_of_these_ways(kind, spec, address):
    manager = kind([spec])
    assert [connection.get_address() for connection in manager.connection_list] == [address]
    assert manager.connection_list[0].use_ssl == (spec is TLS)
    assert "localhost" in repr(manager) or address[0] != "localhost"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hosts, text", [
    ("localhost", "host_list is 'localhost', not a list of servers"),
    ([None], "Expected str, tuple or dict; got None"),
    ([1], "Expected str, tuple or dict; got 1"), (["localhost:x"], "the port of 'localhost:x' is not a number"),
    ([("a", 1, 2)], "an address is a str or"), ([{"host": "x"}], "Incomplete SSL connection definition: port, keyfile"),
    (["http://x"], "is a URL")])
def test_what_is_no_server_is_told(kind, hosts, text):
    with pytest.raises(errors.GearmanError, match=text):
        kind(hosts)


def test_an_own_class_of_connections_is_used():
    class Connection(GearmanConnection):
        pass
    kind = type("Client", (GearmanClient,), {"connection_class": Connection})
    assert type(kind(["localhost"]).connection_list[0]) is Connection


def test_a_connection_of_another_client_is_refused():
    with pytest.raises(AssertionError, match="Unknown connection"):
        GearmanClient(["localhost"]).establish_connection(GearmanConnection("localhost"))


def test_the_encoder_of_nobody_takes_bytes_and_text():
    for value in (b"x", "x"):
        assert NoopEncoder.encode(value) == NoopEncoder.decode(value) == value
    for refused in (NoopEncoder.encode, NoopEncoder.decode):
        with pytest.raises(TypeError, match="Expecting byte string, got <class 'int'>: data are bytes or str"):
            refused(1)
    for abstract in (DataEncoder.encode, DataEncoder.decode):
        with pytest.raises(NotImplementedError):
            abstract(b"")


@pytest.mark.parametrize("value", [b"", b"plain", "\xe9\u20ac".encode(), b"\xff\xfe\x00", bytes(range(256))])
def test_no_byte_is_lost_as_text(value):
    manager = GearmanConnectionManager([])
    assert manager._for_script(value) == value
    manager.text = True
    assert isinstance(manager._for_script(value), str)
    assert manager._on_wire(manager._for_script(value)) == value


def test_what_a_server_refuses_is_logged(caplog):
    assert GearmanClient([]).on_gearman_error("CODE", "text") is False
    assert "Received error from server: CODE: text" in caplog.text
