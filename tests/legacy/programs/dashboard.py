"""Who works where, for a page."""
from __future__ import print_function
import sys
import threading
import time

import gearman

HOST = "127.0.0.1:" + sys.argv[1]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


worker = Worker([HOST])
worker.set_client_id("dashboard-worker")
for task in (b"dash_b", b"dash_a"):
    worker.register_task(task, lambda worker, job: "")
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
admin = gearman.GearmanAdminClient([HOST])
while True:
    found = [peer for peer in admin.get_workers() if peer["client_id"] == "dashboard-worker" and len(peer["tasks"]) == 2]
    if found:
        break
    time.sleep(0.05)
print(len(found), found[0]["ip"], sorted(found[0]["tasks"]), sorted(found[0]))
print(sorted(line["workers"] for line in admin.get_status() if line["task"].startswith("dash_")))
worker.running = False
thread.join()
