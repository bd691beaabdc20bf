"""What the package offers is loaded when a program asks for it: one that submits jobs never loads the server."""
import sys
from importlib import import_module
from types import ModuleType

from .moved import MOVED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

# The package's names, by the module that has them.
_OFFERED = {
    "client.admin": "AdminClient ConnectedPeer FunctionStatus JobAside PriorityStatus QueuedJob",
    "client.client": "Client",
    "client.link": "JobStatus",
    "client.plan": "HIGH LOW NORMAL",
    "client.task": "Task",
    "core.jobs": "FunctionPolicy",
    "core.limits": "Limits",
    "errors": "ClientBusy CommandTimeout ConnectTimeout Deposed GearmanError JobError JobFailed JobTimeout NoServer "
              "NoWorker ProtocolError QueueFull ResultNotKept ServerError ServerLost StoreError StoreInUse",
    "server.access": "Access",
    "server.server": "Server",
    "store.sqlite": "JobStore",
    "store.store": "Store",
    "worker.command": "Command CommandFailed",
    "worker.job": "Retry WorkerJob",
    "worker.settings": "WorkerHealth",
    "worker.worker": "Worker",
}
HOMES = {name: home for home, names in _OFFERED.items() for name in names.split()}  # type: Dict[str, str]
# Modules and folders of the package that can be used after `import gearman_std` alone, as in release 1.0.0.
PARTS = frozenset(MOVED).union(["client", "core", "errors", "schedule", "server", "store", "timers", "worker"])


class LatePackage(ModuleType):
    """The package: a name that it does not have yet is loaded when it is used."""

    def __getattr__(self, name: str) -> "Any":
        """Load a name that is not there yet; from then on the package has it."""
        if name in HOMES:
            value = getattr(import_module("%s.%s" % (self.__name__, HOMES[name])), name)
        elif name in PARTS:
            value = import_module("%s.%s" % (self.__name__, name))
        else:
            raise AttributeError("module %r has no attribute %r" % (self.__name__, name))
        setattr(self, name, value)
        return value

    def __dir__(self) -> "List[str]":
        return sorted(set(HOMES).union(vars(self)))


def offer_late(namespace: "Dict[str, Any]") -> None:
    """Let the package, which has this namespace, load its names late; the single file has all of them."""
    if not all(name in namespace for name in HOMES):
        # Python 3.6 knows no functions __getattr__ and __dir__ of a module; a class of its own works with every Python.
        sys.modules[namespace["__name__"]].__class__ = LatePackage
