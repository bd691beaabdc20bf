"""A worker in a thread, a client that waits for the result."""
from __future__ import print_function
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


def reverse(worker, job):
    return job.data[::-1]


worker = Worker(SERVERS)
worker.set_client_id("reverser")
worker.register_task(b"reverse", reverse)
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
request = client.submit_job("reverse", "Hello World!")
print(request.complete, request.state, request.timed_out)
print(request.result.decode("ascii"))
worker.running = False
thread.join()
