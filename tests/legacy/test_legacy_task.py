"""The parts of python-gearman 1.x that scripts still use."""
import pytest

from gearman_std.legacy import GearmanWorker, Task, Taskset

from worker_tools import AtWork


@pytest.fixture
def echo(server):
    """A worker of 1.x: functions get the job alone."""
    def slow(job):
        job.status(1, 4)
        job.status(2, 4)
        return job.arg
    worker = GearmanWorker([server])
    worker.register_function("old_echo", lambda job: job.arg)
    worker.register_function("old_slow", slow, timeout=5)
    worker.register_function("old_fail", lambda job: job.fail())
    worker.register_function("old_done", lambda job: job.complete(b"%s of %s" % (job.func, job.handle)))
    with AtWork(worker, poll_timeout=0.2):
        yield worker


def test_do_task_returns_the_result_or_raises(client, echo):
    assert client.do_task(Task("old_echo", "bar")) == b"bar"
    assert client("old_echo", "bar", uniq="-") == b"bar"
    assert client.do_task(Task("old_done", "")).startswith(b"old_done of H:")
    with pytest.raises(client.TaskError, match="Task failed"):
        client.do_task(Task("old_fail", "bar"))
    with pytest.raises(client.TaskError, match="Task timeout: .*within 0.05 s"):
        client.do_task(Task("old_nobody", "bar", timeout=0.05))


def test_a_set_of_tasks_is_done_and_tells_its_functions(client, echo):
    told = []
    tasks = Taskset([Task("old_echo", "1", on_complete=lambda result: told.append(("complete", result)))])
    tasks.add(Task("old_fail", "2", on_fail=lambda: told.append("fail"), on_post=[lambda: told.append("post")]))
    tasks.add(Task("old_slow", "3", high_priority=True, on_status=lambda *numbers: told.append(numbers)))
    assert client.do_taskset(tasks) is True
    assert sorted(task.result for task in tasks.values() if task.is_finished) == [b"1", b"3"]
    assert ("complete", b"1") in told and told.index("fail") < told.index("post") and ("2", "4") not in told
    assert (2, 4) in told


def test_a_set_that_is_not_done_in_time(client, echo):
    tasks = Taskset([Task("old_echo", "1"), Task("old_nobody", "2")])
    assert client.do_taskset(tasks, timeout=0.1) is False
    assert sorted(str(task.result) for task in tasks.values()) == ["None", "b'1'"]


def test_a_set_can_be_cancelled_from_within(client, echo):
    tasks = Taskset()
    tasks.add(Task("old_slow", "1", on_status=lambda *numbers: tasks.cancel()))
    tasks.add(Task("old_nobody", "2"))
    assert client.do_taskset(tasks) is True


def test_background_tasks_have_a_handle_whose_status_can_be_asked(client, echo):
    handle = client.dispatch_background_task("old_nobody", "x", uniq="u", high_priority=True)
    assert handle.startswith(b"H:")
    status = client.get_status(handle)
    assert (status["known"], status["running"], status["handle"]) == (True, False, handle)
    assert client.get_status("H:none:1")["known"] is False


def test_an_argument_that_a_task_does_not_have_is_told():
    with pytest.raises(TypeError, match="a Task has no argument on_completed"):
        Task("f", "x", on_completed=print)


def test_stop_if_and_hooks_of_work(server, client):
    calls = []

    class Hooks:
        def start(self, job):
            calls.append("start")

        def complete(self, job, result):
            calls.append(("complete", result))

        def fail(self, job, exc_info):
            calls.append(("fail", exc_info[0]))

    def stop_if(idle, last_job_time):
        return not idle and len(calls) >= 4
    worker = GearmanWorker([server])
    worker.register_function("old_hooks", lambda job: 1 / 0 if job.arg == b"bad" else job.arg)
    for data in ("good", "bad"):
        client.dispatch_background_task("old_hooks", data)
    worker.work(stop_if=stop_if, hooks=Hooks())
    assert calls == ["start", ("complete", b"good"), "start", ("fail", ZeroDivisionError)]
