"""Modules can still be imported by the names that they had in release 1.0.0, when all of them were in one folder."""
import importlib
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Optional

# Names that a folder or a module still has are not here: gearman_std.client has a Client as before.
MOVED = {
    "protocol": "wire.protocol", "session": "wire", "http_session": "wire.http", "serializers": "wire.serializers",
    "handlers": "core.handlers", "text": "core.text", "jobs": "core.jobs", "peers": "core.peers", "roster": "core.roster",
    "ledger": "core.ledger", "limits": "core.limits", "uniques": "core.uniques", "invariants": "core.invariants",
    "addresses": "net.addresses", "streams": "net.streams", "connection": "net.connection", "signals": "net.signals",
    "channel": "server.channel", "gate": "server.gate", "listeners": "server.listeners", "tls": "server.tls",
    "access": "server.access",
    "storekeeper": "store.storekeeper",
    "client_network": "client.network", "client_link": "client.link", "client_ring": "client.ring",
    "client_task": "client", "admin": "client.admin",
    "worker_shift": "worker.shift", "worker_link": "worker.link", "worker_job": "worker.job", "command": "worker.command",
    "cli_common": "cli.common", "cli_server": "cli.server", "cli_client": "cli.client", "cli_worker": "cli.worker",
    "cli_admin": "cli.admin", "daemon": "cli.daemon", "supervisor": "cli.supervisor", "demo": "cli.demo",
}


class OldNames:
    """Finds a module by its old name; the result is the same module as by the new name, not a copy.

    Owner: nobody, it does not change.
    """

    def __init__(self) -> None:
        self._package = type(self).__module__.rpartition(".")[0]

    def __repr__(self) -> str:
        return "<OldNames of %s>" % self._package

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Optional[ModuleSpec]":
        """Called by `import`: how to load a module by its old name; None for any other name."""
        package, _, old = name.rpartition(".")
        if package != self._package or old not in MOVED:
            return None
        from importlib.machinery import ModuleSpec
        return ModuleSpec(name, self)  # type: ignore[arg-type]

    def create_module(self, spec: "ModuleSpec") -> "ModuleType":
        """The module by its new name.  `import` will give it the old name's spec, which `exec_module` undoes."""
        module = importlib.import_module("%s.%s" % (self._package, MOVED[spec.name.rpartition(".")[2]]))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: "ModuleType") -> None:
        """Only restore the spec: the module was executed before."""
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state


def keep_old_names() -> None:
    """Let `import` find the modules by their old names."""
    if not any(finder.__class__ is OldNames for finder in sys.meta_path):
        sys.meta_path.append(OldNames())
