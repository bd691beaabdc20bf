"""Polls the status of a job in the background until the server does not know it any more."""
from __future__ import print_function
import sys
import threading
import time

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]
steps = threading.Semaphore(0)


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


def long_task(worker, job):
    for step in range(1, 4):
        worker.send_job_status(job, step, 3)
        steps.acquire()
    return "done"


worker = Worker(SERVERS)
worker.register_task(b"poller_task", long_task)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
request = client.submit_job("poller_task", "x", background=True)
print(request.complete, request.result)
seen = []
while True:
    status = client.get_job_status(request).status
    if not status["numerator"] and not status["denominator"]:
        if seen:
            break
        continue
    progress = "%d/%d" % (status["numerator"], status["denominator"])
    if progress not in seen:
        seen.append(progress)
        steps.release()
    time.sleep(0.01)
print(" ".join(seen))
worker.running = False
thread.join()
