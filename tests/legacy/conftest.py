"""What the tests of legacy/ share.

Where the single-file build is under test, there is no folder legacy; test_legacy_file.py tests that of gearman.py.
"""
import pytest

import gearman_std
from gearman_std.testing import JobServer

collect_ignore_glob = [] if hasattr(gearman_std, "__path__") else ["test_*.py"]


@pytest.fixture(scope="module")
def server():
    """The address of a server."""
    with JobServer() as server:
        yield server.address


@pytest.fixture
def client(server):
    """A client of that server."""
    from gearman_std.legacy import GearmanClient
    client = GearmanClient([server])
    yield client
    client.shutdown()


@pytest.fixture
def working(server):
    """working(client id, name=function…) starts a worker that runs functions until the test ends."""
    from gearman_std.legacy import GearmanWorker
    from worker_tools import AtWork
    running = []

    def working(client_id=None, **functions):
        worker = GearmanWorker([server])
        worker.set_client_id(client_id)
        for name, function in functions.items():
            worker.register_task(name, function)
        running.append(AtWork(worker, poll_timeout=0.2))
        running[-1].__enter__()
        return worker
    yield working
    for one in running:
        one.__exit__(None)
