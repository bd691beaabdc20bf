"""A user's program in which a type checker finds nothing."""
from concurrent.futures import Future
from threading import Thread
from typing import Any, Dict, List, Tuple

from gearman_std import (HIGH, Access, AdminClient, Client, Command, FunctionPolicy, FunctionStatus, JobFailed, JobStatus,
                         JobStore, Limits, Retry, Server, Task, Worker, WorkerJob)

worker = Worker(["localhost"], threads=4)


@worker.function("reverse")
def reverse(job: WorkerJob) -> bytes:
    job.send_status(1, 2)
    if job.attempt > 3:
        raise Retry(after=5.0)
    return job.workload[::-1]


worker.register("wc", Command(["wc", "-c"], timeout=10))


def submit(client: Client) -> List[bytes]:
    task: Task = client.submit("reverse", "hello", priority=HIGH, unique="u")
    status: JobStatus = client.status(task.handle)
    print(status.known, status.running)
    try:
        results: List[bytes] = [client.run("reverse", "hello", timeout=5), task.result(timeout=5)]
        results += client.map("reverse", ["a", "b"], in_flight=10)
    except JobFailed as error:
        print(error.exception, error.handle, error.warnings)
        raise
    jobs: List[Tuple[str, str]] = [("reverse", "one"), ("reverse", "two")]
    for each in client.as_completed(client.submit_many(jobs), timeout=10):
        print(each.state, each.exception())
    with client.executor(2) as executor:
        futures: List["Future[Any]"] = [executor.submit("reverse", "hello", timeout=5), executor.submit("reverse")]
    return results + [future.result() for future in futures]


class Patient(Client):
    """A class that is derived of one of the package's is itself in a with block."""

    patience = 60.0


def wait(servers: List[str]) -> bool:
    with Patient(servers) as client:
        task = client.submit("reverse", "hello")
        done: bool = task.wait(client.patience)
        return done and not task.failed


def serve(path: str) -> None:
    with Server(port=0, store=JobStore(path), limits=Limits(jobs=5), access=Access(steer=["loopback"]),
                policy=FunctionPolicy(coalescing="rerun"), policies={"reverse": FunctionPolicy(attempts=3)}) as server:
        address = server.address
        assert isinstance(address, tuple), "it listens on no Unix socket"
        host, port = address
        helper = Worker(["%s:%d" % (host, port)])
        helper.register("reverse", reverse)
        thread = Thread(target=helper.work)
        thread.start()
        with Client(["%s:%d" % (host, port)], job_timeout=10) as client:
            assert submit(client) == [b"olleh", b"olleh", b"a", b"b", b"olleh", b""]
        helper.stop()
        thread.join()
        with AdminClient("%s:%d" % (host, port)) as admin:
            functions: List[FunctionStatus] = list(admin.status())
            names: List[bytes] = [status.function for status in functions if status.running]
            totals: Dict[str, Any] = admin.totals()
            print(names, totals)
