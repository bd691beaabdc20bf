"""A worker of the library gear: gear_worker.py HOST PORT"""
import sys

import gear

worker = gear.TextWorker("gear")
worker.addServer(sys.argv[1], int(sys.argv[2]))
worker.waitForServer()
for name in ("echo", "nothing", "reverse", "count", "unique", "tell", "fail", "raise"):
    worker.registerFunction(name)
print("ready", flush=True)
runs = 0
while True:
    job = worker.getJob()
    if job.name == "echo":
        job.sendWorkComplete(job.arguments)
    elif job.name == "nothing":
        job.sendWorkComplete()
    elif job.name == "reverse":
        job.sendWorkComplete(job.arguments[::-1])
    elif job.name == "count":
        runs += 1
        job.sendWorkComplete(str(runs))
    elif job.name == "unique":
        job.sendWorkComplete(job.unique)
    elif job.name == "tell":
        job.sendWorkStatus(1, 2)
        job.sendWorkData("half ")
        job.sendWorkWarning("careful")
        job.sendWorkComplete("done")
    elif job.name == "fail":
        job.sendWorkFail()
    else:
        job.sendWorkException("no good")
