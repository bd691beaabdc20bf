"""Many jobs at once, their results in order."""
from __future__ import print_function
import json
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


def square(worker, job):
    return json.dumps(json.loads(job.data.decode("ascii")) ** 2)


worker = Worker(SERVERS)
worker.register_task(b"square", square)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
jobs = [dict(task="square", data=json.dumps(number)) for number in range(20)]
submitted = client.submit_multiple_jobs(jobs, background=False, wait_until_complete=False)
print(len(submitted), all(request.state in ("CREATED", "COMPLETE") for request in submitted))
completed = client.wait_until_jobs_completed(submitted, poll_timeout=10.0)
print([json.loads(request.result.decode("ascii")) for request in completed])
print(any(request.timed_out for request in completed))
worker.running = False
thread.join()
