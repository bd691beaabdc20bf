"""A scheduler that submits builds, and is told by its client's hooks what becomes of them."""
import json
import threading

import gear

server = gear.Server(0)
events = []


class SchedulerClient(gear.Client):
    def __init__(self, scheduler):
        super().__init__("scheduler")
        self.scheduler = scheduler

    def handleWorkStatus(self, packet):
        job = super().handleWorkStatus(packet)
        self.scheduler.told("progress", job, int(job.fraction_complete * 100))

    def handleWorkData(self, packet):
        job = super().handleWorkData(packet)
        self.scheduler.told("data", job, json.loads(job.data[-1]))

    def handleWorkComplete(self, packet):
        job = super().handleWorkComplete(packet)
        self.scheduler.told("complete", job, job.data)

    def handleWorkFail(self, packet):
        job = super().handleWorkFail(packet)
        self.scheduler.told("failed", job)

    def handleWorkException(self, packet):
        job = super().handleWorkException(packet)
        self.scheduler.told("exception", job, job.exception)

    def handleStatusRes(self, packet):
        try:
            job = super().handleStatusRes(packet)
        except gear.UnknownJobError:
            self.scheduler.told("unknown job")
        else:
            self.scheduler.told("status", job, job.known, job.running)


class Scheduler:
    def __init__(self):
        self.changed = threading.Condition()
        self.events = []
        self.builds = {}
        self.gearman = SchedulerClient(self)
        self.gearman.addServer("127.0.0.1", server.port)
        self.gearman.waitForServer()

    def told(self, what, job=None, *details):
        with self.changed:
            self.events.append((what, job.unique if job else None) + details)
            self.changed.notify_all()

    def wait(self, count):
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.events) >= count, 20), self.events
            events, self.events = self.events, []
        for event in events:
            print(*event)

    def launch(self, uuid, precedence=gear.PRECEDENCE_NORMAL, background=False, **parameters):
        job = gear.TextJob("execute:build", json.dumps(parameters, sort_keys=True), unique=uuid)
        self.builds[uuid] = job
        self.gearman.submitJob(job, background=background, precedence=precedence, timeout=300)
        print("launched", uuid, bool(job.handle), job.handle is not None)

    def ask(self, uuid):
        job = self.builds[uuid]
        packet = gear.Packet(gear.constants.REQ, gear.constants.GET_STATUS, job.handle)
        self.gearman.sendPacket(packet, job.connection)

    def cancel(self, uuid):
        job = self.builds[uuid]
        request = gear.CancelJobAdminRequest(job.handle)
        job.connection.sendAdminRequest(request, timeout=300)
        return request.response.strip().split(b" ")[0].decode()


scheduler = Scheduler()
scheduler.launch("b1", project="nova")
scheduler.launch("b2", gear.PRECEDENCE_LOW, project="swift")
scheduler.launch("b3", gear.PRECEDENCE_HIGH, project="zuul")
scheduler.launch("b4", background=True, project="to be cancelled")
scheduler.ask("b1")
scheduler.wait(1)
print("cancelled", scheduler.cancel("b4"), scheduler.cancel("b4"))

executor = gear.TextWorker("executor")
executor.addServer("127.0.0.1", server.port)
executor.waitForServer()
executor.registerFunction("execute:build")
running = []
for _ in range(3):
    job = executor.getJob()
    running.append(job)
    print("executing", job.unique, json.loads(job.arguments)["project"], job.name)
high, normal, low = running
scheduler.ask("b1")
scheduler.wait(1)
normal.sendWorkData(json.dumps({"url": "http://logs/1"}))
normal.sendWorkStatus(1, 2)
scheduler.wait(2)
normal.sendWorkComplete(json.dumps({"result": "SUCCESS"}))
scheduler.wait(1)
high.sendWorkFail()
scheduler.wait(1)
low.sendWorkException("größer als erwartet")
scheduler.wait(1)
scheduler.ask("b1")
scheduler.wait(1)
for uuid in sorted(scheduler.builds):
    job = scheduler.builds[uuid]
    print(uuid, job.complete, job.failure, job.data)
executor.shutdown()
scheduler.gearman.shutdown()
server.shutdown()
