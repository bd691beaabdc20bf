"""The API of python-gearman 2.0 over gearman_std's client and worker, for scripts that say `import gearman`.

Imports client, worker, server, core, net, wire, timers, errors, version and arguments.

    import gearman_std.legacy as gearman    # or, once, before the script says `import gearman`:

    import gearman_std.legacy
    gearman_std.legacy.install()
"""
from .constants import (JOB_COMPLETE, JOB_CREATED, JOB_FAILED, JOB_PENDING, JOB_UNKNOWN, PRIORITY_HIGH, PRIORITY_LOW,
                        PRIORITY_NONE)
from .installing import install

__all__ = ["JOB_COMPLETE", "JOB_CREATED", "JOB_FAILED", "JOB_PENDING", "JOB_UNKNOWN", "PRIORITY_HIGH", "PRIORITY_LOW",
           "PRIORITY_NONE", "install"]
