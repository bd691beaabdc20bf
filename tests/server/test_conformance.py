"""Recorded conversations with gearmand, played against our server; those with long silences and those that need a server of
their own are left to `tests/conformance/replay.py --spawn`, which plays them all."""
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from gearman_std.server.server import Server

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance")
CLASSES = {"contract", "quirk", "v1.1", "bug"}


def scenarios():
    with open(os.path.join(FOLDER, "transcripts.json")) as file:
        return json.load(file)


def differences():
    """The scenarios in which we differ on purpose, and why."""
    with open(os.path.join(FOLDER, "differences.txt")) as file:
        lines = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    names = [line.partition(" ")[0] for line in lines]
    assert len(names) == len(set(names)), "a scenario is listed twice"
    return {name: line.partition(" ")[2] for name, line in zip(names, lines)}


def silence(scenario):
    """For how many seconds nothing happens in a scenario."""
    return sum(step.get("sleep", 0) + step.get("expect_nothing_for", 0) + 12 * step.get("bytewise", 0)
               for step in scenario["steps"])


QUICK = [scenario for scenario in scenarios()
         if not scenario["server_args"] and not scenario.get("own_server") and silence(scenario) < 0.3
         and scenario["name"] not in differences()]


@pytest.fixture(scope="module")
def outcomes():
    """What is wrong with each of the quick scenarios, or None, by name; they are played many at a time."""
    sys.path.insert(0, FOLDER)
    try:
        import replay
    finally:
        sys.path.remove(FOLDER)
    with Server(port=0) as server, ThreadPoolExecutor(8) as pool:
        player = replay.Player(server.address[0], server.address[1], 1.0)
        return dict(zip([scenario["name"] for scenario in QUICK], pool.map(player.play, QUICK)))


@pytest.mark.parametrize("name", [scenario["name"] for scenario in QUICK])
def test_our_server_does_as_gearmand(outcomes, name):
    assert outcomes[name] is None, outcomes[name]


def test_there_is_a_scenario_for_each_difference_and_a_reason_too():
    names = [scenario["name"] for scenario in scenarios()]
    assert len(names) == len(set(names))
    assert set(differences()) <= set(names)
    assert all(len(reason.split()) > 1 for reason in differences().values())


def test_most_of_the_contract_is_played_here():
    """Of what every server has to do, no more than a handful of scenarios differ, each for a reason that the list gives."""
    contract = {scenario["name"] for scenario in scenarios() if scenario["class"] == "contract"}
    assert {scenario["class"] for scenario in scenarios()} == CLASSES
    assert len(contract & set(differences())) == 4
    assert len(contract & {scenario["name"] for scenario in QUICK}) > len(contract) / 2
