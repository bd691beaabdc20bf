"""A user's tests in which a type checker finds what is wrong."""
from gearman_std.testing import ImmediateClient, JobServer


class OurServer(JobServer):
    label = "ours"


with OurServer() as server:
    print(server.label, server.lable)  # wrong
    server.start_wroker({})  # wrong
    server.start_worker({}, treads=4)  # wrong
    server.client(timeuot=3)  # wrong
JobServer(max_conections=5)  # wrong

ImmediateClient({}).submit_many([("f", "x")], timeuot=3)  # wrong
