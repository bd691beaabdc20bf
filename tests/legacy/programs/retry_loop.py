"""The loop around work() that everybody writes."""
from __future__ import print_function
import sys

import gearman
from gearman.errors import ServerUnavailable


class Worker(gearman.GearmanWorker):
    def after_poll(self, any_activity):
        return False


def run(servers):
    worker = Worker(servers)
    worker.register_task(b"retry_task", lambda worker, job: "")
    for attempt in range(3):
        try:
            worker.work()
            print("left")
            return
        except ServerUnavailable:
            print("no server, attempt", attempt)


run(["127.0.0.1:1"])
run(["127.0.0.1:" + sys.argv[1]])
