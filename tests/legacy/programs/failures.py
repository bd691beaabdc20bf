"""Jobs that fail, by an exception and by a word."""
from __future__ import print_function
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running

    def on_job_exception(self, current_job, exc_info):
        print("failed:", exc_info[1])
        self.send_job_failure(current_job)
        return False


def fail(worker, job):
    raise ValueError("it is %s" % job.data.decode("ascii"))


worker = Worker(SERVERS)
worker.register_task(b"fail_task", fail)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
for data in ("bad", "worse"):
    request = client.submit_job("fail_task", data)
    print(request.state == gearman.JOB_FAILED, request.complete, request.result, request.exception, request.timed_out)
worker.running = False
thread.join()
