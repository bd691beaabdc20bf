"""What the arguments of a call that submits make of a job, and that all such calls take the same ones."""
import ast
import inspect
import os
import subprocess
import sys

import pytest

from gearman_std.client import plan as plan_module
from gearman_std.client.client import Client
from gearman_std.client.network import Network
from gearman_std.client.plan import HIGH, JOB_OPTIONS, LOW, NORMAL, Plan, Sharing, check_options, dump_workload, plan_job
from gearman_std.net.system import System
from gearman_std.wire.protocol import (SUBMIT_JOB, SUBMIT_JOB_BG, SUBMIT_JOB_EPOCH, SUBMIT_JOB_HIGH, SUBMIT_JOB_HIGH_BG,
                                       SUBMIT_JOB_LOW, SUBMIT_JOB_LOW_BG, SUBMIT_JOB_SCHED, SUBMIT_REDUCE_JOB,
                                       SUBMIT_REDUCE_JOB_BACKGROUND)
from gearman_std.wire.serializers import find_serializer

SHARING = Sharing(System(wall_clock=lambda: 1000.25), find_serializer(None), None)


@pytest.mark.parametrize("options, packet_type, middle", [
    ({}, SUBMIT_JOB, ()),
    ({"priority": HIGH}, SUBMIT_JOB_HIGH, ()),
    ({"priority": LOW}, SUBMIT_JOB_LOW, ()),
    ({"background": True}, SUBMIT_JOB_BG, ()),
    ({"background": True, "priority": HIGH}, SUBMIT_JOB_HIGH_BG, ()),
    ({"background": True, "priority": LOW}, SUBMIT_JOB_LOW_BG, ()),
    ({"background": True, "at": 77}, SUBMIT_JOB_EPOCH, (b"77",)),
    ({"background": True, "at": 77.5}, SUBMIT_JOB_EPOCH, (b"78",)),  # never too early
    ({"background": True, "delay": 10}, SUBMIT_JOB_EPOCH, (b"1011",)),
    ({"background": True, "delay": 0}, SUBMIT_JOB_EPOCH, (b"1001",)),
    ({"background": True, "schedule": "*/5 8 * * *"}, SUBMIT_JOB_SCHED, (b"*/5", b"8", b"*", b"*", b"*")),
    ({"reducer": "r"}, SUBMIT_REDUCE_JOB, (b"r", b"0")),
    ({"reducer": b"r", "background": True}, SUBMIT_REDUCE_JOB_BACKGROUND, (b"r", b"0")),
])
def test_the_options_decide_the_packet(options, packet_type, middle):
    plan = plan_job(SHARING, "résumé", unique="ü", **options)
    assert (plan.packet_type, plan.leading) == (packet_type, ("résumé".encode(), "ü".encode()) + middle)
    assert (plan.function, plan.unique) == ("résumé".encode(), "ü".encode())
    assert (plan.priority, plan.background) == (options.get("priority", NORMAL), options.get("background", False))


@pytest.mark.parametrize("options", [
    {"priority": "urgent"}, {"at": 5}, {"delay": 5}, {"background": True, "at": 1, "delay": 1}, {"background": True, "at": -1},
    {"background": True, "at": 2 ** 63}, {"background": True, "delay": float("nan")},
    {"background": True, "delay": 1, "priority": HIGH},
    {"background": True, "delay": 1, "reducer": "r"}, {"reducer": "r", "priority": LOW}, {"reducer": ""}, {"reducer": "r" * 65},
    {"unique": "u\0"}, {"unique": "u" * 65},
])
def test_what_the_protocol_cannot_say_is_a_value_error(options):
    with pytest.raises(ValueError):
        plan_job(SHARING, "f", **options)


@pytest.mark.parametrize("call", ["submit", "run", "submit_many", "map"])
def test_every_call_that_submits_names_the_same_options(call):
    """As `plan_job` does, in whose order they are handed on."""
    options = list(inspect.signature(plan_job).parameters.values())[2:]
    assert tuple(option.name for option in options) == JOB_OPTIONS
    named = inspect.signature(getattr(Client, call)).parameters
    for option in options:
        other = named[option.name]
        assert (other.kind, other.default, other.annotation) == (other.KEYWORD_ONLY, option.default, option.annotation)
    assert not [one for one in named.values() if one.kind in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]


def test_the_executor_takes_the_options_of_run_also_for_type_checkers(sources):
    with open(os.path.join(sources, "client", "client.py"), encoding="utf-8") as file:
        classes = [node for node in ast.walk(ast.parse(file.read())) if isinstance(node, ast.ClassDef)]
    [executor] = [node for node in classes if node.name == "ClientExecutor"]
    [submit] = [node for node in executor.body if isinstance(node, ast.FunctionDef)]
    named = inspect.signature(Client.run).parameters.values()
    assert [one.arg for one in submit.args.kwonlyargs] == [one.name for one in named if one.kind is one.KEYWORD_ONLY]
    with Client("localhost") as client, client.executor(1) as executor, pytest.raises(TypeError, match="is it timeout?"):
        executor.submit("f", timeuot=3)


@pytest.mark.parametrize("call", [lambda client, options: client.submit("f", b"w", **options),
                                  lambda client, options: client.run("f", b"w", **options),
                                  lambda client, options: client.submit_many([("f", b"w")], **options),
                                  lambda client, options: client.submit_many([dict(options, function="f")]),
                                  lambda client, options: list(client.map("f", [b"w"], **options))],
                         ids=["submit", "run", "submit_many", "a dict of submit_many", "map"])
def test_every_call_that_submits_hands_each_option_on(call, monkeypatch):
    planned = []

    class Planned(Exception):
        """The job need not be submitted."""

    def submit(self, submission, *_):
        planned.append(submission.plan)
        raise Planned

    monkeypatch.setattr(Network, "submit", submit)
    for options in ({"unique": "u", "priority": LOW, "background": True, "idempotent": True, "tag": "t", "pass_task": True,
                     "on_status": max, "on_data": len, "on_warning": repr},
                    {"background": True, "at": 5}, {"background": True, "delay": 1e6}, {"reducer": "r"},
                    {"background": True, "schedule": "@daily"}):
        with Client("127.0.0.1:1", serializer="bytes") as client:
            with pytest.raises(Planned):
                call(client, options)
            plan = plan_job(client._sharing, "f", **options)
        found = planned.pop()
        assert not planned and type(found) is Plan
        if "delay" in options:
            assert abs(int(found.leading[2]) - int(plan.leading[2])) <= 20
            found = found._replace(leading=plan.leading)
        assert found == plan


def test_a_typo_in_a_dict_of_options_is_named_with_what_may_be_meant():
    check_options("call()", dict.fromkeys(JOB_OPTIONS))
    check_options("call()", {"more": 1}, "more")
    with pytest.raises(TypeError, match=r"^call\(\) has no argument priorty; is it priority\?$"):
        check_options("call()", {"priorty": 1})
    with pytest.raises(TypeError, match=r"^call\(\) has no argument 5$"):
        check_options("call()", {5: 1})


def test_a_workload_goes_through_the_serializer():
    plan = plan_job(SHARING, "f")
    assert (dump_workload(plan, "wörk"), dump_workload(plan, None)) == ("wörk".encode(), b"")
    json = plan_job(SHARING._replace(serializer=find_serializer("json")), "f")
    assert dump_workload(json, [1]) == b"[1]"
    with pytest.raises(TypeError, match="a workload of type object does not go through the serializer"):
        dump_workload(plan, object())


def test_a_workload_that_is_too_large_for_a_packet_is_refused(monkeypatch):
    monkeypatch.setattr(plan_module, "_LARGEST_WORKLOAD", 9)
    plan = plan_job(SHARING, "f")
    assert dump_workload(plan, bytes(9)) == bytes(9)
    with pytest.raises(ValueError, match="a workload of 10 bytes does not fit into a packet"):
        dump_workload(plan, bytes(10))


def test_where_python_refuses_to_compare_bytes_with_text_all_uniques_go_on():
    code = ("from gearman_std.testing import ImmediateClient\nclient = ImmediateClient({'f': lambda job: job.unique})\n"
            "print([client.run('f', b'w', unique=unique) for unique in ('u', b'u', '', b'')])")
    done = subprocess.run([sys.executable, "-bb", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout.split() == [b"[b'u',", b"b'u',", b"b'',", b"b'']"], done.stdout.decode()
