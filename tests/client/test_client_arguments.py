"""What the public calls of clients say about arguments that cannot be, and what their signatures show."""
import inspect
import threading

import pytest

from client_tools import LONG, one_job
from gearman_std.client.admin import AdminClient, ConnectedPeer, FunctionStatus, JobAside, PriorityStatus, QueuedJob
from gearman_std.client.client import Client
from gearman_std.client.link import JobStatus
from gearman_std.client.plan import plan_job
from gearman_std.client.task import Task
from gearman_std.errors import JobFailed, ServerError
from gearman_std.wire.protocol import SUBMIT_JOB_SCHED, WORK_COMPLETE, WORK_DATA, WORK_STATUS, WORK_WARNING
from gearman_std.server.access import Access
from gearman_std.testing import ImmediateClient, JobServer
from gearman_std.worker.worker import WorkerHealth


def test_the_signatures_show_what_a_user_may_set():
    """And the system below, which is private."""
    assert list(inspect.signature(Client).parameters) == [
        "servers", "connect_timeout", "command_timeout", "job_timeout", "serializer", "tls", "_system"]
    assert list(inspect.signature(AdminClient).parameters) == ["server", "timeout", "tls", "_system"]


@pytest.mark.parametrize("make, argument", [(Client, "connect_timeout"), (Client, "command_timeout"), (Client, "job_timeout"),
                                            (AdminClient, "timeout")])
@pytest.mark.parametrize("value, kind", [("5", TypeError), (float("nan"), ValueError), (-1, ValueError), ([], TypeError)])
def test_a_time_out_that_is_none_is_named(make, argument, value, kind):
    with pytest.raises(kind, match=argument + " is "):
        make("localhost", **{argument: value})


def test_a_time_out_beyond_all_floats_is_no_limit(make_client, serve):
    client = make_client(serve(), job_timeout=10 ** 400, command_timeout=10 ** 400)
    assert client.run("f", b"x", timeout=10 ** 400) == b"x"


# One server that never answers would do; none is asked, since all is refused at the call.
NOBODY = "127.0.0.1:1"


def plan_task(client):
    """A task that was not submitted."""
    return Task(plan_job(client._sharing, "f"), None, client._pool)


def call(name, *arguments, **options):
    """A call of a client's method, as a text and a function."""
    shown = ", ".join([repr(one) for one in arguments] + ["%s=%r" % pair for pair in options.items()])
    return pytest.param(lambda client: getattr(client, name)(*arguments, **options), id="%s(%s)" % (name, shown))


def with_text(call, *parts):
    return pytest.param(*call.values, parts, id=call.id)


@pytest.mark.parametrize("call, parts", [
    with_text(call("submit", 5), "function name", "5"),
    with_text(call("submit", ""), "function name is empty"),
    with_text(call("submit", "f\udcff"), "function name", "os.fsencode"),
    with_text(call("submit", "f", {"a": 1}), "workload", "dict"),
    with_text(call("submit", "f", 5), "workload", "int"),
    with_text(call("submit", "f", unique=0), "unique", "0"),
    with_text(call("submit", "f", unique="u" * 70), "unique", "70"),
    with_text(call("submit", "f", priority=["high"]), "priority", "high, normal or low"),
    with_text(call("submit", "f", background=True, at="tomorrow"), "at is 'tomorrow'", "unix time"),
    with_text(call("submit", "f", background=True, at=float("inf")), "at is inf"),
    with_text(call("submit", "f", background=True, delay="5"), "delay is '5'"),
    with_text(call("submit", "f", background=True, delay=-5), "delay is -5", "less than 0"),
    with_text(call("submit", "f", background=True, delay=10 ** 400), "delay is"),
    with_text(call("submit", "f", delay=5), "delay is only for a background job"),
    with_text(call("submit", "f", background=True, delay=5, schedule="@daily"), "delay and schedule"),
    with_text(call("submit", "f", background=True, schedule="* * *"), "schedule", "five fields"),
    with_text(call("submit", "f", background=True, schedule="99 * * * *"), "schedule", "minute"),
    with_text(call("submit", "f", background=True, schedule="0 0 30 2 *"), "schedule", "never"),
    with_text(call("submit", "f", background=True, schedule=5), "schedule is 5"),
    with_text(call("submit", "f", reducer=7), "reducer", "7"),
    with_text(call("submit", "f", reducer=""), "reducer", "empty"),
    with_text(call("submit", "f", on_data="x"), "on_data is 'x'"),
    with_text(call("submit", "f", on_status=1), "on_status is 1"),
    with_text(call("submit", "f", connect_timeout="x"), "connect_timeout is 'x'"),
    with_text(call("submit", "f", priorty="high"), "submit", "unexpected keyword argument 'priorty'"),
    with_text(call("run", "f", priorty="high"), "run", "unexpected keyword argument 'priorty'"),
    with_text(call("run", "f", timeuot=3), "run", "unexpected keyword argument 'timeuot'"),
    with_text(pytest.param(lambda client: client.executor(1).submit("f", timeuot=3), id="executor"), "timeuot; is it timeout?"),
    with_text(call("run", "f", attempts=0), "attempts is 0"),
    with_text(call("run", "f", attempts="3"), "attempts is '3'"),
    with_text(call("run", "f", backoff=-1), "backoff is -1"),
    with_text(call("run", "f", timeout="x"), "timeout is 'x'"),
    with_text(call("run", "f", try_timeout=[]), "try_timeout is []"),
    with_text(call("submit_many", [("f", "a", "b")]), "(function, workload)", "('f', 'a', 'b')"),
    with_text(call("submit_many", [()]), "(function, workload)"),
    with_text(call("submit_many", "fg"), "jobs is 'fg'"),
    with_text(call("submit_many", {"function": "f"}), "jobs is {"),
    with_text(call("submit_many", None), "jobs is None"),
    with_text(call("submit_many", [("f", "x")], priorty="high"), "submit_many", "unexpected keyword argument 'priorty'"),
    with_text(call("submit_many", [{"function": "f", "worklod": "x"}]), "worklod; is it workload?"),
    with_text(call("submit_many", [{"workload": "x"}]), "without a function"),
    with_text(call("map", "f", "hello"), "workloads is 'hello'"),
    with_text(call("map", "f", b"hello"), "workloads is b'hello'"),
    with_text(call("map", "f", 5), "workloads is 5"),
    with_text(call("map", "f", ["x"], priorty="high"), "map", "unexpected keyword argument 'priorty'"),
    with_text(call("map", "f", ["x"], priority="hihg"), "priority", "hihg"),
    with_text(call("map", "", ["x"]), "function name is empty"),
    with_text(call("map", "f", ["x"], in_flight="9"), "in_flight is '9'"),
    with_text(call("map", "f", ["x"], in_flight=0), "in_flight is 0"),
    with_text(call("map", "f", ["x"], timeout="x"), "timeout is 'x'"),
    with_text(call("wait", [], timeout="x"), "timeout is 'x'"),
    with_text(call("wait", 5), "tasks is 5"),
    with_text(call("wait", ["x"]), "tasks", "'x'"),
    with_text(call("wait", [], return_when="some"), "return_when is all or first"),
    with_text(call("as_completed", "x"), "tasks is 'x'"),
    with_text(pytest.param(lambda client: plan_task(client).stream("x"), id="stream('x')"), "timeout is 'x'"),
    with_text(call("status", 5), "handle is 5"),
    with_text(call("status", ""), "handle is empty"),
    with_text(call("status", "H:1", server="elsewhere"), "elsewhere", "servers"),
    with_text(call("status", "H:1", server=5), "server is 5"),
    with_text(call("status_unique", 5), "unique is 5"),
    with_text(call("status_unique", ""), "unique is empty"),
    with_text(call("ping", data=5), "data is 5"),
    with_text(call("executor", max_workers=0), "max_workers"),
    with_text(call("executor", max_workers="x"), "max_workers"),
])
def test_what_cannot_be_is_refused_at_the_call_with_the_arguments_name(call, parts):
    with Client(NOBODY) as client:
        with pytest.raises((TypeError, ValueError)) as caught:
            call(client)
        for part in parts:
            assert part in str(caught.value)


# --- What a job is told, and tells.


def test_a_task_knows_its_workload_and_its_callers_tag(make_client, serve):
    client = make_client(serve(), serializer="json")
    tasks = client.submit_many([{"function": "f", "workload": [number], "tag": number} for number in range(3)])
    for task in client.as_completed(tasks, LONG):
        assert (task.workload, task.result()) == ([task.tag], [task.tag])
    assert client.submit("f", tag="t").tag == "t"


def test_callbacks_may_be_told_the_task(make_client, serve):
    client = make_client(serve(one_job((WORK_DATA, b"H:1", b"part"), (WORK_STATUS, b"H:1", b"1", b"2"),
                                       (WORK_WARNING, b"H:1", b"careful"), (WORK_COMPLETE, b"H:1", b""))))
    told = []
    callbacks = {name: (lambda *what, name=name: told.append((name,) + what))
                 for name in ("on_data", "on_status", "on_warning")}
    task = client.submit("f", pass_task=True, **callbacks)
    assert task.result(LONG) == b""
    assert told == [("on_data", task, b"part"), ("on_status", task, 1, 2), ("on_warning", task, b"careful")]


def test_a_recurring_job(make_client, serve):
    server = serve()
    client = make_client(server)
    client.submit("f", b"x", unique="u", schedule="*/5 8-18 * jan,jul mon-fri", background=True)
    client.submit("f", b"x", schedule="@weekly", background=True)
    client.close()
    assert server.outcome() == [(SUBMIT_JOB_SCHED, b"f", b"u", b"*/5", b"8-18", b"*", b"1,7", b"0,1,2,3,4", b"x"),
                                (SUBMIT_JOB_SCHED, b"f", b"", b"0", b"0", b"*", b"*", b"6", b"x")]


def test_map_may_give_the_errors_in_place_of_the_results():
    def half(job):
        number = int(job.workload)
        if number % 2:
            raise RuntimeError("odd: %d" % number)
        return b"%d" % (number // 2)
    with JobServer() as server, server.client() as client:
        server.start_worker({"half": half})
        results = list(client.map("half", ["%d" % number for number in range(40)], in_flight=4, return_exceptions=True))
        assert results[::2] == [b"%d" % number for number in range(20)]
        assert [error.exception for error in results[1::2]] == [b"odd: %d" % number for number in range(1, 40, 2)]
        with pytest.raises(JobFailed):
            list(client.map("half", ["0", "1"]))


@pytest.mark.parametrize("kind", [JobStatus, FunctionStatus, PriorityStatus, ConnectedPeer, QueuedJob, JobAside, WorkerHealth])
def test_the_fields_of_answers_have_types(kind):
    assert tuple(kind.__annotations__) == kind._fields
    assert not hasattr(kind(*range(len(kind._fields))), "__dict__")


def test_a_job_is_cancelled_and_seen_to_be_over():
    with JobServer() as server, server.client() as client:
        waiting = client.submit("f", b"x", background=True)
        joined = client.submit("g", b"x", unique="u")
        assert not waiting.ended() and not joined.ended()
        assert client.status(waiting) == client.status(waiting.handle) and client.status(waiting).known
        assert client.cancel(waiting) is True and client.cancel(waiting.handle) is False
        assert waiting.ended() and repr(waiting).endswith(": accepted>")
        assert client.cancel(joined.handle.decode(), server.name) is True
        assert isinstance(joined.exception(LONG), JobFailed) and joined.ended()
        for wrong in (5, "", b"\0"):
            with pytest.raises((TypeError, ValueError), match="handle"):
                client.cancel(wrong)
        with pytest.raises(ValueError, match="server is 'elsewhere'"):
            client.cancel("H:1", "elsewhere")


def test_the_end_of_a_background_job_is_waited_for():
    go_on = threading.Event()
    with JobServer() as server, server.client() as client:
        server.start_worker({"f": lambda job: go_on.wait(LONG) and None})
        task = client.submit("f", background=True)
        assert not task.ended(0.05)
        go_on.set()
        assert task.ended(LONG)
    client = ImmediateClient({"f": lambda job: None})
    later = client.submit("f", background=True, delay=5)
    assert not later.ended(1.0) and later.ended(10.0)
    waiting = client.submit("nobody", background=True)
    assert client.cancel(waiting) is True and client.cancel(waiting) is False and waiting.ended()


def test_who_may_not_cancel_is_told_so():
    with JobServer(access=Access(steer=["none"])) as server, server.client() as client:
        task = client.submit("f", background=True)
        with pytest.raises(ServerError, match="PERMISSION_DENIED"):
            client.cancel(task)


def test_parts_of_a_result_may_go_through_the_serializer():
    def count(job):
        for number in range(job.value):
            job.send_data([number, None])
        job.send_data("text ")
        job.send_data(b"bytes")
    with JobServer() as server, server.client(serializer="json") as client:
        server.start_worker({"count": count}, serializer="json")
        task = client.submit("count", 2)
        assert list(task.stream(LONG)) == [b"[0, null]", b"[1, null]", b"text ", b"bytes"]
        server.start_worker({"bad": lambda job: job.send_data({})})
        with pytest.raises(JobFailed, match="dict"):
            client.run("bad", timeout=LONG)
