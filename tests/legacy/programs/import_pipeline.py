"""Two steps: each result is the next one's data; a queue with a time-out for all."""
from __future__ import print_function
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


worker = Worker(SERVERS)
worker.register_task(b"step_split", lambda worker, job: b"\n".join(job.data.split(b",")))
worker.register_task(b"step_count", lambda worker, job: str(len(job.data.splitlines())))
worker.register_task(b"step_gone", lambda worker, job: "")
worker.unregister_task(b"step_gone")
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
split = client.submit_job("step_split", "a,b,c", poll_timeout=10)
count = client.submit_job("step_count", split.result, poll_timeout=10)
print(count.result.decode("ascii"), count.job.data == split.result, count.job.to_dict()["task"])
print(client.submit_job("step_gone", "", poll_timeout=0.2).timed_out)
worker.running = False
thread.join()
