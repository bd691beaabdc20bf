"""A Gearman job server, client, worker and admin client in pure standard-library Python.

    from gearman_std import Client, Server, Worker

    with Server(port=0) as server:                        # or: python3 -m gearman_std server
        worker = Worker([server.address])

        @worker.function("reverse")
        def reverse(job):
            return job.workload[::-1]

        threading.Thread(target=worker.work).start()      # or: python3 -m gearman_std worker mymodule:reverse
        with Client([server.address]) as client:
            print(client.run("reverse", "hello"))         # b'olleh'
            client.submit("reverse", "later", unique="job-1", background=True)
        worker.stop()

Client and Worker use the servers that the environment variable GEARMAN_SERVERS names, or localhost:4730, unless told otherwise.
Names, uniques, handles, workloads and results are bytes; str is accepted and sent as UTF-8.  Times are in seconds.  Errors are
GearmanError and its subclasses, see `gearman_std.errors`.  The package logs to loggers below "gearman_std".  It is silent until
the program sets up logging, except for errors of a worker, which go to standard error until then.
"""
from .late import offer_late
from .moved import keep_old_names
from .version import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:  # each is loaded when it is asked for, see late.py
    from .server.access import Access
    from .client.admin import AdminClient, ConnectedPeer, FunctionStatus, JobAside, PriorityStatus, QueuedJob
    from .client.client import Client
    from .client.link import JobStatus
    from .client.plan import HIGH, LOW, NORMAL
    from .client.task import Task
    from .worker.command import Command, CommandFailed
    from .errors import (ClientBusy, CommandTimeout, ConnectTimeout, Deposed, GearmanError, JobError, JobFailed, JobTimeout,
                         NoServer, NoWorker, ProtocolError, QueueFull, ResultNotKept, ServerError, ServerLost, StoreError,
                         StoreInUse)
    from .core.jobs import FunctionPolicy
    from .core.limits import Limits
    from .server.server import Server
    from .store.sqlite import JobStore
    from .store.store import Store
    from .worker.settings import WorkerHealth
    from .worker.worker import Worker
    from .worker.job import Retry, WorkerJob

__version__ = VERSION
__all__ = [
    "Access", "AdminClient", "Client", "ClientBusy", "Command", "CommandFailed", "CommandTimeout", "ConnectTimeout",
    "ConnectedPeer", "Deposed", "FunctionPolicy", "FunctionStatus", "GearmanError", "HIGH", "JobAside", "JobError", "JobFailed",
    "JobStatus", "JobStore", "JobTimeout", "LOW", "Limits", "NORMAL", "NoServer", "NoWorker", "PriorityStatus",
    "ProtocolError", "QueueFull", "QueuedJob", "ResultNotKept", "Retry", "Server", "ServerError", "ServerLost",
    "Store", "StoreError", "StoreInUse", "Task", "Worker", "WorkerHealth", "WorkerJob", "__version__",
]

keep_old_names()
offer_late(globals())
