"""What an admin orders to be done with a job or a function."""
from gearman_std.core.invariants import check_core
from gearman_std.core.jobs import FunctionPolicy, RUNNING, SET_ASIDE, WAITING
from gearman_std.core.orders import cancel_job, drop_job, purge_job, requeue_job
from gearman_std.core.rights import ADMIN, STEER
from gearman_std.core.text import obey
from gearman_std.wire.protocol import JOB_CREATED, NOOP, PRE_SLEEP, SUBMIT_JOB_EPOCH, WORK_COMPLETE, WORK_FAIL


def test_an_order_for_a_job_in_another_state_changes_nothing_whoever_gives_it(world):
    client, worker, core = world.connects(), world.worker(b"f"), world.core
    running, waiting, gone, aside = [core.jobs[client.submits_bg()] for _ in range(4)]
    assert worker.grabs() == running.handle
    drop_job(core, aside)
    cancel_job(core, gone)
    for order, jobs in ((drop_job, (running, gone, aside)), (cancel_job, (gone,)),
                        (requeue_job, (running, waiting, gone)), (purge_job, (running, waiting, gone))):
        for job in jobs:
            order(core, job)
            check_core(core)
    assert (running.state, waiting.state, aside.state) == (RUNNING, WAITING, SET_ASIDE) and world.totals().cancelled == 1


def test_a_waiting_job_that_is_cancelled_fails_and_is_gone(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    assert world.connects().asks(b"cancel job " + handle) == b"OK\r\n"
    client.hears((WORK_FAIL, handle))
    assert worker.grabs() is None and not client.knows(handle)


def test_a_running_job_that_is_cancelled_fails_at_once_and_its_result_is_refused(world):
    client, worker = world.connects(), world.worker(b"f")
    handle = client.submits()
    worker.grabs()
    assert world.connects().asks(b"cancel job " + handle) == b"OK\r\n"
    client.hears((WORK_FAIL, handle))
    worker.says(WORK_COMPLETE, handle, b"").hears_error(b"JOB_NOT_FOUND")
    client.hears()
    assert world.totals().cancelled == 1


def test_after_a_cancel_the_same_unique_is_a_new_job(world):
    client = world.connects()
    handle = client.submits_bg(b"f", b"u")
    client.asks(b"cancel job " + handle)
    assert client.submits_bg(b"f", b"u") != handle


def test_a_job_waiting_for_its_time_and_one_set_aside_can_be_cancelled(make_world):
    world = make_world(policy=FunctionPolicy(retries=1))
    client = world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"g", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:1"))
    handle = client.submits_bg()
    world.loses(1)
    assert client.asks(b"cancel job H:x:1") == client.asks(b"cancel job " + handle) == b"OK\r\n"
    assert world.core.jobs == {} and world.aside() == [] and world.wait is None and world.core.size == 0


def test_a_dropped_function_s_jobs_are_set_aside_or_fail(world):
    client, listener = world.connects(), world.connects()
    kept = client.submits_bg(b"f")
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 9), b"").hears((JOB_CREATED, b"H:x:2"))
    foreground = listener.submits(b"f")
    assert client.asks(b"drop function f") == b"ERR there are still 3 jobs queued: force sets them aside\r\n"
    assert client.asks(b"drop function f force") == b"OK\r\n"
    listener.hears((WORK_FAIL, foreground))
    assert world.aside() == [(kept, b"its function was dropped"), (b"H:x:2", b"its function was dropped")]
    assert world.core.functions == {} and world.wait is None
    assert client.asks(b"show totals").splitlines()[:6] == [
        b"submitted\t3", b"joined\t0", b"completed\t0", b"failed\t3", b"requeued\t0", b"set_aside\t2"]


def test_a_paused_function_gives_out_nothing_until_it_is_resumed(world):
    client, worker = world.connects(), world.worker(b"f", b"g")
    assert client.asks(b"pause function f") == b"OK\r\n"
    f = client.submits_bg(b"f")
    worker.says(PRE_SLEEP).hears()
    g = client.submits_bg(b"g")
    worker.hears((NOOP,))
    assert [worker.grabs(), worker.grabs()] == [g, None]
    worker.says(PRE_SLEEP).hears()
    assert client.asks(b"resume function f") == b"OK\r\n"
    worker.hears((NOOP,))
    assert worker.grabs() == f


def test_a_job_that_waits_for_a_date_can_be_run_at_once_and_no_other(world):
    client, worker, admin = world.connects(), world.worker(b"f"), world.connects()
    client.says(SUBMIT_JOB_EPOCH, b"f", b"", b"%d" % (world.wall + 100), b"w").hears((JOB_CREATED, b"H:x:1"))
    waiting = client.submits_bg()
    assert worker.grabs() == waiting and worker.grabs() is None
    assert admin.asks(b"run job H:x:9") == b"ERR UNKNOWN_JOB\r\n"
    assert admin.asks(b"run job " + waiting) == b"ERR the job does not wait for a date\r\n"
    assert admin.asks(b"run function f").startswith(b"ERR INVALID_ARGUMENTS ")
    assert admin.asks(b"run job H:x:1") == b"OK\r\n"
    assert worker.grabs() == b"H:x:1"


def test_orders_in_words_that_hold_blanks_need_the_same_right(world):
    world.worker(b"a b").submits_bg(b"a b")
    assert obey(world.core, frozenset((ADMIN,)), [b"pause", b"function", b"a b"]).startswith(b"ERR PERMISSION_DENIED ")
    assert not world.core.functions[b"a b"].paused
    assert obey(world.core, frozenset((STEER,)), [b"pause", b"function", b"a b"]) == b"OK\r\n"
    assert world.core.functions[b"a b"].paused
