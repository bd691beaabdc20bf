"""A check for a monitor: is the server there, and what is it?"""
from __future__ import print_function
import sys

import gearman

OK, CRITICAL = 0, 2


def check(host):
    admin = gearman.GearmanAdminClient([host], poll_timeout=5)
    try:
        elapsed = admin.ping_server()
        workers = [peer for peer in admin.get_workers() if peer["tasks"]]
    except (gearman.errors.ServerUnavailable, gearman.errors.InvalidAdminClientState):
        return CRITICAL, "no answer"
    return OK, "pong in time: %s, %d workers here" % (elapsed < 5, len([w for w in workers if "health" in w["tasks"]]))


print(check("127.0.0.1:" + sys.argv[1]))
print(check("127.0.0.1:1"))
