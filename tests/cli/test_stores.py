"""The store that the options of the command `server` ask for, above all -q MODULE:FACTORY."""
import sys

import pytest

from gearman_std.cli.options import UsageError
from gearman_std.cli.server_options import parse_server
from gearman_std.cli.stores import QueueType, server_store
from gearman_std.store.sqlite import JobStore
from server_tools import server_command as server

MODULE = """
from gearman_std import JobStore, Store, StoreError

class Mine(Store):
    def __init__(self, durability):
        super().__init__("mine", durability)

def refuses(durability):
    raise StoreError("no database\\nanywhere")

def leaves(durability):
    raise SystemExit("bye")

def text(durability):
    return "store"

def always(durability):
    return Mine("batch")

def in_file(durability):
    return JobStore("from_factory.db", durability)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "stores_of_mine.py").write_text(MODULE)
    yield
    sys.modules.pop("stores_of_mine", None)


def store_of(*words):
    return server_store(parse_server(["--config-file", "/dev/null"] + list(words)))


def test_a_factory_makes_it_of_the_durability():
    for words, durability in ((), "every"), (("--durability", "exit"), "exit"), (("--store-queue-on-shutdown",), "exit"):
        store = store_of("-q", "stores_of_mine:Mine", *words)
        assert type(store).__name__ == "Mine" and store.durability == durability
    assert isinstance(store_of("-q", "./stores_of_mine.py:in_file"), JobStore)


@pytest.mark.parametrize("words, complaint", [
    (["-q", "nosuch:Mine"], "cannot import nosuch: ModuleNotFoundError: No module named 'nosuch'"),
    (["-q", "stores_of_mine:yours"], "there is no yours in stores_of_mine"),
    (["-q", "stores_of_mine:"], "'stores_of_mine:' is not MODULE:FACTORY, nor is there such a file"),
    (["-q", "stores_of_mine:__name__"], "stores_of_mine:__name__ cannot be called"),
    (["-q", "stores_of_mine:refuses"], "-q stores_of_mine:refuses: StoreError: no database anywhere"),
    (["-q", "stores_of_mine:leaves"], "-q stores_of_mine:leaves: SystemExit: bye"),
    (["-q", "stores_of_mine:text"], "-q stores_of_mine:text has made a str, which is no gearman_std.store.Store"),
    (["-q", "stores_of_mine:always"], "-q stores_of_mine:always has made a store of --durability batch, not every"),
    (["-q", "stores_of_mine:Mine", "--sqlite3-db", "x"], "--sqlite3-db needs -q sqlite3"),
    (["-q", "stores_of_mine:Mine", "--check-store"], "--check-store needs -q sqlite3"),
    (["-q", "builtin", "--check-store"], "--check-store needs -q sqlite3"),
    (["-q", "stores_of_mine:Mine", "--import-gearmand", "x"], "--import-gearmand needs -q sqlite3"),
    (["-q", "stores_of_mine:Mine", "--store-queue-on-shutdown", "--durability", "batch"], "--store-queue-on-shutdown is not")])
def test_what_makes_no_store_is_told_in_one_line(words, complaint):
    with pytest.raises(UsageError) as caught:
        store_of(*words)
    assert str(caught.value).startswith(complaint) and "\n" not in str(caught.value)
    assert server(*words)[0] == 2


def test_a_type_is_a_word_that_there_is_or_a_module():
    read = QueueType("a", "b")
    assert read("a") == "a" and read("x:y") == "x:y" and read.choices == ("a", "b") and repr(read) == "<QueueType a, b>"
    with pytest.raises(ValueError, match="'c' is not one of a, b"):
        read("c")
