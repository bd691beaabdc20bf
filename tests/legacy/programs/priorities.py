"""Jobs of all priorities, done by a worker that comes later."""
from __future__ import print_function
import sys

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]
client = gearman.GearmanClient(SERVERS)
for name, priority in (("low", gearman.PRIORITY_LOW), ("normal", gearman.PRIORITY_NONE), ("high", gearman.PRIORITY_HIGH)):
    for number in "12":
        request = client.submit_job("priority_task", name + number, background=True, priority=priority)
        print(request.priority, request.background, request.complete)


class Worker(gearman.GearmanWorker):
    left = 6

    def on_job_complete(self, current_job, job_result):
        self.left -= 1
        return super(Worker, self).on_job_complete(current_job, job_result)

    def after_poll(self, any_activity):
        return self.left > 0


def tell(worker, job):
    print(job.data.decode("ascii"))
    return ""


worker = Worker(SERVERS)
worker.register_task(b"priority_task", tell)
worker.work(poll_timeout=0.2)
