"""The client and the worker of the library gear, together, at the server of this API."""
import socket
import threading

import pytest

import gearman_std.legacy.gear as gear
from gearman_std.client.admin import AdminClient

from patience import LONG, until


@pytest.fixture
def make():
    """Makes a client, a worker or a server, and ends it."""
    made = []

    def add(kind, *arguments, **options):
        made.append(kind(*arguments, **options))
        return made[-1]
    yield add
    for thing in reversed(made):
        if thing.running:
            thing.shutdown()


@pytest.fixture
def server(make):
    return make(gear.Server, 0)


@pytest.fixture
def both(make, server):
    """A client and a worker, connected."""
    pair = make(gear.Client, "client"), make(gear.TextWorker, "worker")
    for one in pair:
        one.addServer("127.0.0.1", server.port)
        one.waitForServer(LONG)
    return pair


def test_a_job_and_what_it_tells(both):
    client, worker = both
    worker.registerFunction("größe")
    job = gear.TextJob("größe", "daten", unique="ü")
    client.submitJob(job)
    at_work = worker.getJob()
    assert (at_work.handle, at_work.name, at_work.arguments, at_work.unique) == (job.handle, "größe", "daten", "ü")
    at_work.sendWorkStatus(1, 2)
    at_work.sendWorkData("ä")
    until(lambda: job.data)
    assert (job.numerator, job.denominator, job.fraction_complete, job.complete) == (b"1", b"2", 0.5, False)
    at_work.sendWorkWarning("w")
    at_work.sendWorkComplete("ö")
    until(lambda: job.complete)
    assert (job.data, job.warning, job.failure) == (["ä", "w", "ö"], True, False)
    assert job.connection is client.active_connections[0] and not job.connection.related_jobs


def test_how_a_job_fails(both):
    client, worker = both
    worker.registerFunction("f")
    failed, raised = gear.Job("f", b"1"), gear.TextJob("f", "2")
    client.submitJob(failed)
    client.submitJob(raised)
    worker.getJob().sendWorkFail()
    worker.getJob().sendWorkException("größer")
    until(lambda: failed.complete and raised.complete)
    assert (failed.failure, failed.exception, raised.failure, raised.exception) == (True, None, True, "größer")


def test_precedences(both, server):
    client, worker = both
    for name, precedence in (("low", gear.PRECEDENCE_LOW), ("normal", gear.PRECEDENCE_NORMAL), ("high", gear.PRECEDENCE_HIGH)):
        client.submitJob(gear.TextJob("f", name), background=True, precedence=precedence)
    assert [job.arguments for job in server.getQueue()] == [b"high", b"normal", b"low"]
    assert [len(queue) for queue in (server.high_queue, server.normal_queue, server.low_queue)] == [1, 1, 1]
    worker.registerFunction("f")
    names = []
    for _ in range(3):
        job = worker.getJob()
        names.append(job.arguments)
        job.sendWorkComplete()
    assert names == ["high", "normal", "low"]


def test_a_worker_asks_for_no_more_jobs_than_threads_wait_for(both, server):
    client, worker = both
    worker.registerFunction("f")
    for number in range(3):
        client.submitJob(gear.Job("f", b"%d" % number), background=True)
    assert server.running_jobs == 0
    first = worker.getJob()
    assert (server.running_jobs, server.waiting_jobs, server.total_jobs) == (1, 2, 3)
    second = worker.getJob()
    assert (first.arguments, second.arguments, server.running_jobs) == ("0", "1", 2)


def test_threads_that_wait_for_jobs_share_them(both):
    client, worker = both
    worker.registerFunction("f")
    results, lock = [], threading.Lock()

    def work():
        try:
            while True:
                job = worker.getJob()
                with lock:
                    results.append(job.arguments)
                job.sendWorkComplete(job.arguments[::-1])
        except gear.InterruptedError:
            return
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    jobs = [gear.TextJob("f", "job %03d" % number) for number in range(200)]
    for job in jobs:
        client.submitJob(job)
    until(lambda: all(job.complete for job in jobs))
    assert [job.data for job in jobs] == [[("job %03d" % number)[::-1]] for number in range(200)]
    worker.stopWaitingForJobs()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert sorted(results) == ["job %03d" % number for number in range(200)]


def test_a_sleeping_worker_gets_the_jobs_of_a_function_that_it_registers(both, server):
    client, worker = both
    job = gear.TextJob("late", "x")
    client.submitJob(job)
    thread = threading.Thread(target=lambda: worker.getJob().sendWorkComplete("done"))
    thread.start()
    until(lambda: worker.active_connections[0].state == "SLEEP")
    assert not job.complete
    worker.registerFunction("late")
    thread.join(LONG)
    until(lambda: job.complete)


def test_functions_come_and_go(both, server):
    client, worker = both
    worker.registerFunction("a")
    worker.registerFunction(b"b", timeout=1000)
    worker.setFunctions([gear.FunctionRecord("c"), gear.FunctionRecord("d", b"5000")])
    until(lambda: server.functions == {b"c", b"d"})
    worker.unRegisterFunction("d")
    until(lambda: server.functions == {b"c"})
    assert [(peer.client_id, peer.functions) for peer in server.active_connections if peer.functions] == [(b"worker", {b"c"})]
    with pytest.raises(KeyError):
        worker.unRegisterFunction("d")
    with pytest.raises(gear.InvalidDataError, match="FunctionRecords is required, and 'x' is none"):
        worker.setFunctions(["x"])
    assert set(worker.functions) == {b"c"}


def test_questions_to_a_server(both, server):
    client, worker = both
    job = gear.TextJob("f", "x", unique="u")
    client.submitJob(job, background=True)
    connection = client.getConnection()
    for request, wanted in ((gear.StatusAdminRequest(), b"f\t1\t0\t0\n.\n"), (gear.ShowUniqueJobsAdminRequest(), b"u\n.\n"),
                            (gear.VersionAdminRequest(), b"OK 1"), (gear.WorkersAdminRequest(), b" 127.0.0.1 worker :"),
                            (gear.ShowJobsAdminRequest(), job.handle + b"\t"),
                            (gear.CancelJobAdminRequest(job.handle), b"OK"), (gear.CancelJobAdminRequest(job.handle), b"ERR")):
        connection.sendAdminRequest(request, LONG)
        assert wanted in request.response
    assert connection.echo() and connection.echo("ü", LONG) == "ü".encode()
    assert client.setOption("exceptions") and not client.setOption("no such option")


def test_the_status_of_a_job(both):
    client, worker = both
    worker.registerFunction("f")
    job = gear.TextJob("f", "x")
    client.submitJob(job)

    def ask():
        job.known = None
        client.sendPacket(gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle), job.connection)
        until(lambda: job.running is not None and job.known is not None)
        return job.known, job.running, job.fraction_complete
    assert ask() == (True, False, None)
    at_work = worker.getJob()
    at_work.sendWorkStatus(3, 4)
    until(lambda: job.fraction_complete)
    assert ask() == (True, True, 0.75)
    at_work.sendWorkFail()


def test_hooks_are_called_and_their_errors_are_logged(make, server, caplog):
    class Client(gear.Client):
        told = []

        def handleWorkData(self, packet):
            self.told.append(super().handleWorkData(packet).data[-1])
            raise ValueError("of a hook")

        def handleWorkComplete(self, packet):
            self.told.append(super().handleWorkComplete(packet).name)
    client, worker = make(Client), make(gear.Worker, "w")
    for one in (client, worker):
        one.addServer("127.0.0.1", server.port)
        one.waitForServer(LONG)
    worker.registerFunction("f")
    job = gear.Job("f", b"")
    client.submitJob(job)
    at_work = worker.getJob()
    at_work.sendWorkData(b"1")
    at_work.sendWorkComplete()
    until(lambda: len(client.told) == 2)
    assert client.told == [b"1", "f"] and "of a hook" in caplog.text


def test_jobs_of_one_client_that_join_one_another_all_end(both):
    client, worker = both
    worker.registerFunction("f")
    jobs = [gear.TextJob("f", "x", unique="same") for _ in range(3)]
    for job in jobs:
        client.submitJob(job)
    assert len({job.handle for job in jobs}) == 1
    at_work = worker.getJob()
    at_work.sendWorkStatus(1, 2)
    at_work.sendWorkData("a")
    at_work.sendWorkComplete("b")
    until(lambda: all(job.complete for job in jobs))
    assert [(job.data, job.fraction_complete) for job in jobs] == [(["a", "b"], 0.5)] * 3
    assert not client.active_connections[0].related_jobs


def test_a_result_that_nobody_wants_any_more_costs_no_connection(both, server):
    client, worker = both
    worker.registerFunction("f")
    for number in range(2):
        job = gear.TextJob("f", "x")
        client.submitJob(job)
        at_work = worker.getJob()
        at_work.sendWorkComplete()
        at_work.sendWorkComplete()
        until(lambda: job.complete)
        assert len(worker.active_connections) == 1 and not worker.active_connections[0].pending_tasks


def test_a_job_whose_worker_is_lost_fails_and_one_whose_server_is_lost_is_told(make, server):
    lost = []

    class Client(gear.Client):
        def handleDisconnect(self, job):
            lost.append(job)
    client, worker = make(Client), make(gear.Worker, "w")
    for one in (client, worker):
        one.addServer("127.0.0.1", server.port)
        one.waitForServer(LONG)
    worker.registerFunction("f")
    first, second = gear.Job("f", b"1"), gear.Job("f", b"2")
    client.submitJob(first)
    client.submitJob(second)
    worker.getJob()
    worker.shutdown()
    until(lambda: first.complete)
    assert first.failure
    server.shutdown()
    until(lambda: lost)
    assert lost == [second] and not second.complete
    with pytest.raises(gear.GearmanError, match="Unable to submit job to any connected servers: "):
        client.submitJob(gear.Job("f", b""))
    with pytest.raises(gear.NoConnectedServersError):
        client.getConnection()


def test_a_server_that_comes_back_is_used_again(make):
    first = make(gear.Server, 0)
    client, worker = make(gear.Client), make(gear.TextWorker, "w")
    for one in (client, worker):
        one.addServer("127.0.0.1", first.port)
        one.waitForServer(LONG)
    worker.registerFunction("f")
    got = []
    thread = threading.Thread(target=lambda: got.append(worker.getJob().arguments))
    thread.start()
    until(lambda: worker.active_connections and worker.active_connections[0].state == "SLEEP")
    first.shutdown()
    until(lambda: not client.active_connections and not worker.active_connections)
    second = make(gear.Server, first.port)
    client.waitForServer(LONG)
    client.submitJob(gear.TextJob("f", "after"), background=True)
    thread.join(LONG)
    assert got == ["after"] and second.running_jobs == 1


def test_several_servers_take_turns(make):
    servers = [make(gear.Server, 0) for _ in range(2)]
    client = make(gear.Client)
    for one in servers:
        client.addServer("127.0.0.1", one.port)
    until(lambda: len(client.active_connections) == 2)
    for number in range(4):
        client.submitJob(gear.Job("f", b"%d" % number), background=True)
    assert [one.total_jobs for one in servers] == [2, 2]


def test_tls_with_certificates_of_both(make, root):
    def path(name):
        return "%s/tests/tls/%s.pem" % (root, name)
    server = make(gear.Server, 0, path("server"), path("server"), path("ca"))
    client = make(gear.Client)
    client.addServer("127.0.0.1", server.port, path("client"), path("client"), path("ca"))
    client.waitForServer(LONG)
    job = gear.TextJob("f", "x" * 100000)
    client.submitJob(job, background=True)
    assert [len(one.arguments) for one in server.getQueue()] == [100000]
    plain = make(gear.Client)
    plain.addServer("127.0.0.1", server.port)
    with pytest.raises(gear.GearmanError):
        plain.waitForServer(LONG)
        plain.submitJob(gear.TextJob("f", ""))


# --- Errors are raised in the classes that gear has for them.


def test_servers_that_cannot_be(make):
    client = make(gear.Client)
    client.addServer("localhost", 1)
    for arguments, text in ((("localhost", 1), "localhost:1 was added before"), (("localhost", "x"), "not a number from 0"),
                            (("localhost", 2, "key"), "TLS needs all"),
                            (("localhost", 2, "k", "c", "a"), "certificates or the key")):
        with pytest.raises(gear.ConfigurationError, match=text):
            client.addServer(*arguments)
    with pytest.raises(gear.TimeoutError, match="not connected within 0.05 s to localhost:1"):
        client.waitForServer(0.05)
    with pytest.raises(gear.NoConnectedServersError):
        client.getConnection()
    with pytest.raises(gear.GearmanError, match="Unable to submit job to any connected servers: none is connected"):
        client.submitJob(gear.Job("f", b""))


def test_jobs_that_cannot_be(both):
    client, _ = both
    for job, options, error, text in (
            (gear.Job("f", b""), {"precedence": 7}, gear.ConfigurationError, "Invalid precedence value: 7 is not"),
            (gear.Job("", b""), {}, gear.InvalidDataError, "the function name is empty"),
            (gear.Job("a\0b", b""), {}, gear.InvalidDataError, "the function name holds a NUL"),
            (gear.Job("f", b"", "a\0b"), {}, gear.InvalidDataError, "the unique holds a NUL")):
        with pytest.raises(error, match=text):
            client.submitJob(job, **options)
        assert job.handle is None


def test_workers_that_cannot_be(make, both):
    with pytest.raises(Exception, match="A client_id must be provided"):
        gear.Worker()
    assert make(gear.Worker, worker_id="w").worker_id == "w"
    for name, text in (("", "empty"), ("a\0b", "NUL"), (5, "5")):
        with pytest.raises((gear.InvalidDataError, TypeError), match=text):
            both[1].registerFunction(name)


def test_a_worker_that_was_shut_down_gets_no_job(both, caplog):
    _, worker = both
    errors = []

    def wait():
        try:
            worker.getJob()
        except gear.InterruptedError as error:
            errors.append(str(error))
    thread = threading.Thread(target=wait)
    thread.start()
    until(lambda: worker.waiting_for_jobs == 1)
    worker.shutdown()
    thread.join(LONG)
    with pytest.raises(gear.InterruptedError, match="the worker was shut down"):
        worker.getJob()
    worker.shutdown()
    assert errors == ["nobody waits for jobs any more"] and "which was shut down before" in caplog.text


def test_a_server_that_refuses_a_job_says_why(make):
    """A worker that takes no jobs, as when it is drained."""
    server, client = make(gear.Server, 0), make(gear.Client)
    client.addServer("127.0.0.1", server.port)
    client.waitForServer(LONG)
    with AdminClient("127.0.0.1:%d" % server.port) as admin:
        admin.drain()
    with pytest.raises(gear.GearmanError, match="127.0.0.1:[0-9]+: [A-Z_]+: "):
        client.submitJob(gear.Job("f", b""))


def test_a_server_that_says_nothing_is_left(make):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(5)
        client = make(gear.Client)
        client.addServer("127.0.0.1", listening.getsockname()[1])
        client.waitForServer(LONG)
        with pytest.raises(gear.GearmanError, match="no answer within 0.05 s"):
            client.submitJob(gear.Job("f", b""), timeout=0.05)


def test_a_request_that_cannot_take_its_answer_costs_its_connection_and_no_thread(make, server, caplog):
    class Broken(gear.VersionAdminRequest):
        def isComplete(self, data):
            raise ValueError("of a request")
    client = make(gear.Client)
    client.addServer("127.0.0.1", server.port)
    client.waitForServer(LONG)
    with pytest.raises(gear.ConnectionError, match="lost the connection"):
        client.getConnection().sendAdminRequest(Broken(), LONG)
    client.waitForServer(LONG)
    client.submitJob(gear.Job("f", b""), background=True)
    assert "of a request" in caplog.text


def test_a_shutdown_within_a_hook_is_one(make, server):
    class Client(gear.Client):
        def handleWorkComplete(self, packet):
            super().handleWorkComplete(packet)
            self.shutdown()
    client, worker = make(Client), make(gear.Worker, "w")
    for one in (client, worker):
        one.addServer("127.0.0.1", server.port)
        one.waitForServer(LONG)
    worker.registerFunction("f")
    client.submitJob(gear.Job("f", b""))
    worker.getJob().sendWorkComplete()
    client.poll_thread.join(LONG)
    assert not client.running and not client.poll_thread.is_alive()
