"""A user's tests in which a type checker finds what is wrong."""
from gearman_std.testing import ImmediateClient, JobServer


class OurServer(JobServer):
    label = "ours"


with OurServer() as server:
    print(server.label, server.lable)  # wrong
    server.start_wroker({})  # wrong

ImmediateClient({}).submit_many([("f", "x")], timeuot=3)  # wrong
