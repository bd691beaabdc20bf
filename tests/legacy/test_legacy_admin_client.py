"""python-gearman's admin client, against a real server, and against one that the test plays."""
import os
import socket
import threading

import pytest

from gearman_std.legacy import GearmanAdminClient, errors
from gearman_std.testing import JobServer
from gearman_std.version import VERSION

from worker_tools import WAIT


@pytest.fixture
def admin(server):
    admin = GearmanAdminClient([server])
    yield admin
    admin.shutdown()


def answering(answers):
    """The address of a server that gives these answers on one connection, one for each text command that it reads."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(1)

    def run():
        connected = listener.accept()[0]
        for answer in answers:
            connected.recv(4096)
            connected.sendall(answer)
        connected.recv(4096)
        connected.close()
        listener.close()
    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()


def test_status_workers_and_jobs_are_dicts_of_text(admin, client, working):
    gate = threading.Event()
    working("here", admin_f=lambda worker, job: gate.wait(WAIT) and b"")
    request = client.submit_job("admin_f", "x", unique="u-1", background=True)
    client.submit_job("admin_f", "y", unique="u-2", background=True)
    while {"task": "admin_f", "queued": 2, "running": 1, "workers": 1} not in admin.get_status():
        pass
    [peer] = [peer for peer in admin.get_workers() if peer["tasks"]]
    assert (peer["ip"], peer["client_id"], peer["tasks"]) == ("127.0.0.1", "here", ("admin_f",))
    assert peer["file_descriptor"].isdigit()
    handle = request.job.handle.decode()
    assert {"handle": handle, "queued": 0, "canceled": 0, "enabled": 1} in admin.get_jobs()
    assert {"unique": ["u-1"]} in admin.get_unique_jobs() and {"unique": ["u-2"]} in admin.get_unique_jobs()
    assert admin.cancel_job(client.submit_job("later", "", background=True).job.handle) == "OK"
    gate.set()


def test_the_others_return_what_the_server_says(admin):
    assert 0 <= admin.ping_server() < WAIT
    assert admin.get_version() == "OK %s" % VERSION
    assert admin.get_pid() == "OK %d" % os.getpid()
    assert admin.send_maxqueue("limited", 7) == "OK"
    assert admin.cancel_job("H:none:1").startswith("ERR")


def test_shutdown_ends_the_server():
    with JobServer() as server:
        admin = GearmanAdminClient([server.address])
        assert admin.send_shutdown() is None
        with pytest.raises(errors.ServerUnavailable):
            while True:
                admin.get_version()
        admin.shutdown()


def test_refusals_and_nonsense_are_protocol_errors():
    admin = GearmanAdminClient([answering([b"ERR UNKNOWN_COMMAND Unknown+server+command\n"])])
    with pytest.raises(errors.ProtocolError, match="Expected 'OK', received: ERR UNKNOWN_COMMAND"):
        admin.send_maxqueue("f", 1)
    admin.shutdown()
    admin = GearmanAdminClient([answering([b"one\ttwo\n.\n"])])
    with pytest.raises(errors.ProtocolError, match="makes no sense"):
        admin.get_status()
    admin.shutdown()


@pytest.mark.parametrize("call", [lambda admin: admin.send_maxqueue("a b", 1), lambda admin: admin.cancel_job("H:1\nshutdown"),
                                  lambda admin: admin.send_maxqueue("", "x y")])
def test_what_a_command_cannot_carry_is_told(admin, call):
    with pytest.raises(errors.ProtocolError, match="cannot carry"):
        call(admin)


def test_no_answer_in_time_is_told():
    admin = GearmanAdminClient([answering([b""])], poll_timeout=0.05)
    with pytest.raises(errors.InvalidAdminClientState, match="Admin client timed out after 0.05 second"):
        admin.get_status()
    admin.shutdown()


def test_no_server_is_told():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        admin = GearmanAdminClient([taken.getsockname()])
        for call in (admin.ping_server, admin.get_status, admin.get_version):
            with pytest.raises(errors.ServerUnavailable, match="Found no valid connections in list.*refused"):
                call()
    with pytest.raises(errors.ServerUnavailable, match="no server was given"):
        GearmanAdminClient().get_status()


def test_there_is_one_server_and_no_more():
    with pytest.raises(errors.GearmanError, match="Only pass a single host to the constructor of GearmanAdminClient, not 2"):
        GearmanAdminClient(["one", "two"])


def test_a_connection_that_broke_is_made_anew(admin):
    assert admin.get_version()
    assert admin.connection_list[0].connected
    admin.connection_list[0].close()
    assert not admin.connection_list[0].connected
    assert admin.get_version()
