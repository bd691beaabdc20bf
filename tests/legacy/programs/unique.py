"""Equal jobs are one job."""
from __future__ import print_function
import sys

import gearman

SERVERS = ["127.0.0.1:" + sys.argv[1]]
client = gearman.GearmanClient(SERVERS)
uniques = "photo-1", "photo-1", "photo-2"
requests = [client.submit_job("unique_task", "x", unique=unique, background=True) for unique in uniques]
print(requests[0].job.handle == requests[1].job.handle, requests[0].job.handle == requests[2].job.handle)
print([request.job.unique for request in requests])
first, second = [client.submit_job("unique_task", "x", background=True).job.unique for _ in range(2)]
print(len(first), first != second)
