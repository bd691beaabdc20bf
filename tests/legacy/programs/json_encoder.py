"""An encoder that is set on the objects, not on the classes."""
from __future__ import print_function
import json
import sys
import threading

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]


class JSONDataEncoder(gearman.DataEncoder):
    @classmethod
    def encode(cls, encodable_object):
        return json.dumps(encodable_object)

    @classmethod
    def decode(cls, decodable_string):
        return json.loads(decodable_string.decode("ascii"))


class Worker(gearman.GearmanWorker):
    running = True

    def after_poll(self, any_activity):
        return self.running


worker = Worker(SERVERS)
worker.data_encoder = JSONDataEncoder
worker.register_task(b"json_sum", lambda worker, job: {"sum": sum(job.data["numbers"])})
thread = threading.Thread(target=worker.work, kwargs={"poll_timeout": 0.2})
thread.start()
client = gearman.GearmanClient(SERVERS)
client.data_encoder = JSONDataEncoder
print(client.submit_job("json_sum", {"numbers": [1, 2, 3]}).result["sum"])
try:
    client.submit_job("json_sum", object())
except TypeError:
    print("not JSON")
worker.running = False
thread.join()
