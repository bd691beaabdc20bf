"""A user's tests in which a type checker finds nothing."""
from gearman_std import Worker, WorkerJob
from gearman_std.testing import ImmediateClient, JobServer

worker = Worker(serializer="json")


@worker.function("add")
def add(job: WorkerJob) -> int:
    return sum(job.value)


class OurServer(JobServer):
    label = "ours"


def test_add() -> None:
    with JobServer(max_connections=10) as server:
        server.start_worker(worker)
        with server.client(serializer="json") as client:
            assert client.run("add", [2, 3]) == 5
    with OurServer() as ours:
        assert ours.label == "ours" and ours.name
    immediate = ImmediateClient(worker)
    assert immediate.run("add", [2, 3]) == 5
    immediate.advance(60)
