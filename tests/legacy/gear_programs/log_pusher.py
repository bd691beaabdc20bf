"""One program finds logs and submits their names in the background; another one fetches each and passes its lines on."""
import json
import queue
import threading

import gear

LOGS = {"http://logs/console.txt": ["one", "two größe"], "http://logs/syslog.txt.gz": ["kernel: hello"],
        "http://logs/none": None}
server = gear.Server(0)


class Retriever(threading.Thread):
    def __init__(self, lines):
        super().__init__()
        self.lines = lines
        self.worker = gear.Worker("host-pusher")
        self.worker.addServer("127.0.0.1", server.port)
        self.worker.registerFunction(b"push-log")

    def run(self):
        while True:
            try:
                job = self.worker.getJob()
            except gear.InterruptedError:
                return
            arguments = json.loads(job.arguments.decode("utf-8"))
            text = LOGS[arguments["source_url"]]
            if text is None:
                job.sendWorkException("Failed to retrieve log data.".encode("utf8"))
                continue
            for line in text:
                self.lines.put((arguments["event"]["fields"]["filename"], line))
            job.sendWorkComplete()


class Matcher:
    def __init__(self):
        self.client = gear.Client()
        self.client.addServer("127.0.0.1", server.port)

    def submit(self, name, urls):
        self.client.waitForServer(90)
        submitted = []
        for url in sorted(urls):
            output = {"retry": False, "event": {"fields": {"filename": url.rsplit("/", 1)[1]}}, "source_url": url}
            job = gear.TextJob(name, json.dumps(output, sort_keys=True).encode("utf8"))
            self.client.submitJob(job, background=True)
            submitted.append((job.handle, job.arguments))
        return submitted


matcher = Matcher()
for handle, arguments in matcher.submit("push-log", LOGS):
    print("submitted", handle.startswith(b"H:"), arguments)
lines = queue.Queue()
retriever = Retriever(lines)
retriever.start()
for _ in range(3):
    print(*lines.get(timeout=30))
while server.jobs:
    pass
retriever.worker.stopWaitingForJobs()
retriever.worker.shutdown()
retriever.join()
matcher.client.shutdown()
server.shutdown()
