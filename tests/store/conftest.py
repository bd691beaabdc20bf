"""Fixtures of the tests of stores."""
import pytest

from store_tools import OPENED, opened


@pytest.fixture(autouse=True)
def close_all():
    yield
    while OPENED:
        OPENED.pop().abandon()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "jobs.db")


@pytest.fixture
def store(path):
    return opened(path)
