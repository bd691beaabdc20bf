"""Loggers whose handlers, filters and formatters may raise."""
import logging
import os
import re
import sys

import pytest

from gearman_std.net.logs import own_logger


class Raising(logging.Handler):
    """A handler as somebody writes it who does not think of what may go wrong."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def emit(self, record):
        raise self.error


@pytest.fixture
def logger():
    logger = own_logger("gearman_std.tests.logs")
    yield logger
    logger.handlers.clear()
    logger.filters.clear()


@pytest.mark.parametrize("error", (ValueError("a bad handler"), SystemExit("a bad handler")), ids=repr)
def test_what_a_handler_raises_costs_the_record_alone_and_is_told(logger, capsys, error):
    logger.addHandler(Raising(error))
    logger.error("something")
    assert "a bad handler" in capsys.readouterr().err


def test_what_a_filter_raises_costs_the_record_alone(logger, capsys):
    def filter_out(record):
        raise ValueError("a bad filter")
    logger.addFilter(filter_out)
    logger.error("something")
    assert "a bad filter" in capsys.readouterr().err


def test_where_logging_is_to_raise_nothing_it_tells_nothing_either(logger, capsys, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)
    logger.addHandler(Raising(ValueError("a bad handler")))
    logger.error("something")
    assert capsys.readouterr().err == ""


def test_where_standard_error_is_closed_nobody_is_told(logger, monkeypatch):
    with open(os.devnull) as closed:
        monkeypatch.setattr(sys, "stderr", closed)
    logger.addHandler(Raising(ValueError("a bad handler")))
    logger.error("something")


def test_what_is_to_end_the_program_ends_it(logger):
    logger.addHandler(Raising(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        logger.error("something")


def test_a_logger_is_made_safe_once_and_is_the_one_of_that_name(logger, caplog):
    handle = logger.handle
    assert own_logger(logger.name) is logger is logging.getLogger(logger.name) and logger.handle is handle
    assert repr(handle).startswith("<_SafeHandle of <bound method Logger.handle of")
    logger.error("something")
    assert caplog.messages == ["something"]


def test_each_logger_of_the_package_is_one_of_these(root):
    if not os.path.isdir(os.path.join(root, "gearman_std", "net")):
        pytest.skip("the single file")
    made = []
    for folder, _, names in os.walk(os.path.join(root, "gearman_std")):
        for name in names:
            if name.endswith(".py"):
                with open(os.path.join(folder, name), encoding="utf-8") as source:
                    made += re.findall(r"^(\w+logger\w*) = (\w+)", source.read(), re.MULTILINE)
    assert len(made) > 20 and {call for _, call in made} == {"own_logger"}
