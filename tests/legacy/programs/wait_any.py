"""A client that hands on each result of many as soon as it is there."""
from __future__ import print_function
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]
gates = dict((name, threading.Event()) for name in ("first", "second", "third"))


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


class WaitAnyClient(gearman.GearmanClient):
    def wait_until_any_job_completed(self, job_requests, poll_timeout=None):
        def is_request_incomplete(current_request):
            return not current_request.complete

        def continue_while_jobs_incomplete(any_activity):
            return not any(request.complete or request.state == gearman.JOB_UNKNOWN for request in job_requests)

        self.poll_connections_until_stopped(self.connection_list, continue_while_jobs_incomplete, timeout=poll_timeout)
        finished = [request for request in job_requests if request.complete]
        for request in finished:
            request.timed_out = is_request_incomplete(request)
            self.request_to_rotating_connection_queue.pop(request, None)
        return finished


def wait(worker, job):
    gates[job.data.decode("ascii")].wait(10)
    return job.data.upper()


workers = [Worker(SERVERS) for _ in gates]
threads = []
for worker in workers:
    worker.register_task(b"wait_any", wait)
    threads.append(threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2}))
    threads[-1].start()
client = WaitAnyClient(SERVERS)
jobs = [{"task": "wait_any", "data": name} for name in sorted(gates)]
requests = client.submit_multiple_jobs(jobs, wait_until_complete=False)
print(len(requests), sorted(set(request.state for request in requests)))
print(client.wait_until_any_job_completed(requests, poll_timeout=0.1))
for name in ("second", "third", "first"):
    gates[name].set()
    for request in client.wait_until_any_job_completed(requests, poll_timeout=10):
        print(request.result.decode("ascii"), request.timed_out)
        requests.remove(request)
for worker in workers:
    worker.running = False
for thread in threads:
    thread.join()
