"""The API of python-gearman 2.0 over gearman_std's client and worker, for scripts that say `import gearman`.

Imports client, worker, server, core, net, wire, timers, errors and arguments.

    import gearman_std.legacy as gearman    # or, once, before the script says `import gearman`:

    import gearman_std.legacy
    gearman_std.legacy.install()
"""
from . import admin_client, client, connection, connection_manager, constants, errors, job, protocol, task, util, worker
from .admin_client import GearmanAdminClient
from .client import GearmanClient
from .connection_manager import DataEncoder
from .constants import (JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_LOW,
                        PRIORITY_NONE)
from .installing import install
from .job import GearmanJob, GearmanJobRequest
from .task import Task, Taskset
from .worker import GearmanWorker

__version__ = "2.0.2"  # the API's
__all__ = ["DataEncoder", "GearmanAdminClient", "GearmanClient", "GearmanJob", "GearmanJobRequest", "GearmanWorker",
           "JOB_COMPLETE", "JOB_CREATED", "JOB_FAILED", "JOB_PENDING", "JOB_UNKNOWN", "PRIORITY_HIGH", "PRIORITY_LOW",
           "PRIORITY_NONE", "Task", "Taskset", "admin_client", "client", "connection", "connection_manager", "constants",
           "errors", "install", "job", "protocol", "task", "util", "worker"]
