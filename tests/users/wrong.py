"""A user's program in which a type checker finds what is wrong: the lines that say so, and no others."""
from gearman_std import AdminClient, Client, FunctionPolicy, Limits, Server, Worker, WorkerJob

client = Client(["localhost"], conect_timeout=5)  # wrong
client.run("reverse", "hello", timeuot=5)  # wrong
client.submit("reverse", "hello", priorty="high")  # wrong
client.map("reverse", ["a"], unique=5)  # wrong
client.submit("reverse", "hello").result("soon")  # wrong
client.cancel(5)  # wrong
client.submit_many([("reverse", "hello")], timeuot=3)  # wrong
client.map("reverse", ["a"], timeuot=3)  # wrong
client.executor(2).submit(5)  # wrong
client.executor(2).submit("reverse", timeuot=3)  # wrong
if client.submit("reverse").failed():  # wrong
    print("failed")

worker = Worker(treads=4)  # wrong
worker.stop("now", 5)  # wrong


@worker.function("reverse")
def reverse(job: WorkerJob) -> bytes:
    job.send_status("half", 2)  # wrong
    return job.worklaod  # wrong


FunctionPolicy(attempts="three")  # wrong
Limits(job=5)  # wrong

for status in AdminClient().status():
    print(status.name)  # wrong
    print("jobs: " + status.total)  # wrong

Server(prot=0)  # wrong
with Server(port=0) as server:
    server.address.close()  # wrong
