"""The library gear, of OpenStack's Zuul, made of this package's connections and server, for programs that say `import gear`.

    import gearman_std.legacy.gear as gear    # or, once, before the program says `import gear`:

    import gearman_std.legacy
    gearman_std.legacy.install("gear")

Classes, methods and hooks have gear's names and arguments.
"""
from importlib import import_module

from .gear_clients import BaseClient, Client, FunctionRecord, OptionReqTask, SubmitJobTask, Task, TextWorker, Worker
from .gear_connection import Connection
from .gear_constants import PRECEDENCE_HIGH, PRECEDENCE_LOW, PRECEDENCE_NORMAL
from .gear_jobs import (BaseBinaryJob, BaseJob, BinaryJob, BinaryWorkerJob, Job, TextJob, TextJobArguments, TextJobUnique,
                        TextList, TextWorkerJob, WorkerJob)
from .gear_packets import (AdminRequest, CancelJobAdminRequest, ConfigurationError, ConnectionError, GearmanError,
                           InterruptedError, InvalidDataError, NoConnectedServersError, Packet, ShowJobsAdminRequest,
                           ShowUniqueJobsAdminRequest, StatusAdminRequest, TimeoutError, UnknownJobError, VersionAdminRequest,
                           WorkersAdminRequest, convert_to_bytes)
from .gear_server import Server, ServerConnection, ServerJob

constants = import_module(".gear_constants", __package__)

__all__ = [
    "AdminRequest", "BaseBinaryJob", "BaseClient", "BaseJob", "BinaryJob", "BinaryWorkerJob", "CancelJobAdminRequest", "Client",
    "ConfigurationError", "Connection", "ConnectionError", "FunctionRecord", "GearmanError", "InterruptedError",
    "InvalidDataError", "Job", "NoConnectedServersError", "OptionReqTask", "PRECEDENCE_HIGH", "PRECEDENCE_LOW",
    "PRECEDENCE_NORMAL", "Packet", "Server", "ServerConnection", "ServerJob", "ShowJobsAdminRequest",
    "ShowUniqueJobsAdminRequest", "StatusAdminRequest", "SubmitJobTask", "Task", "TextJob", "TextJobArguments", "TextJobUnique",
    "TextList", "TextWorker", "TextWorkerJob", "TimeoutError", "UnknownJobError", "VersionAdminRequest", "Worker", "WorkerJob",
    "WorkersAdminRequest", "constants", "convert_to_bytes",
]
