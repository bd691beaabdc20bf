"""The settings of the server: declared once, and Server, its parts and the declarations agree."""
import inspect

import pytest

from gearman_std.core.jobs import FunctionPolicy
from gearman_std.core.limits import Limits
from gearman_std.server.access import Access
from gearman_std.server.server import Server
from gearman_std.server.settings import NUMBERS, SETTINGS, Setting, check_settings, pack_prefix
from gearman_std.server.tls import ServerTLS
from gearman_std.store.sqlite import JobStore

KEYWORDS = {name: setting for name, setting in SETTINGS.items() if not setting.part}
PARTS = {"limits": Limits, "policy": FunctionPolicy, "access": Access, "store": JobStore}


def parameters(kind):
    return {name: parameter for name, parameter in inspect.signature(kind).parameters.items()
            if parameter.kind is not parameter.VAR_KEYWORD and not name.startswith("_")}


def test_the_keywords_of_server_are_the_declared_ones_with_their_defaults():
    shown = parameters(Server)
    assert set(shown) == set(KEYWORDS), "Server and SETTINGS differ in %s" % (set(shown) ^ set(KEYWORDS))
    for name, setting in KEYWORDS.items():
        assert repr(shown[name].default) == repr(setting.default), name


def test_the_annotations_of_server_say_what_the_units_say():
    for name, parameter in parameters(Server).items():
        setting = KEYWORDS[name]
        if setting.unit in NUMBERS:
            kind = "float" if isinstance(setting.default, float) else "int"
            annotation = getattr(parameter.annotation, "__name__", parameter.annotation)
            assert annotation == (kind if setting.default is not None else "Optional[%s]" % kind), name


def test_every_part_is_one_of_its_class_with_its_default():
    for setting in SETTINGS.values():
        if setting.part and setting.keyword in PARTS and setting.keyword != "access":
            parameter = parameters(PARTS[setting.keyword])[setting.part]
            assert setting.default == (None if parameter.default is parameter.empty else parameter.default), setting.name


@pytest.mark.parametrize("keyword", ["limits", "policy", "access"])
def test_no_part_of_a_class_is_forgotten(keyword):
    declared = {setting.part for setting in SETTINGS.values() if setting.part and setting.keyword == keyword}
    assert declared == set(parameters(PARTS[keyword]))


def test_the_parts_of_tls_are_those_that_tls_knows():
    names = [setting.part for setting in SETTINGS.values() if setting.part and setting.keyword == "tls"]
    with pytest.raises(OSError):  # for the file, not for a name
        ServerTLS(dict.fromkeys(names, "no such file"))


@pytest.mark.parametrize("name", [name for name, setting in KEYWORDS.items() if setting.unit in NUMBERS])
def test_a_number_is_refused_beyond_the_bounds_that_are_declared(name):
    setting = KEYWORDS[name]
    for wrong in [setting.least - 1] + ([] if setting.most is None else [setting.most + 1]):
        with pytest.raises(ValueError, match="^%s is %d, (less|more) than " % (name, wrong)):
            Server(**dict({"port": 0}, **{name: wrong}))
    values = {name: setting.default for name, setting in KEYWORDS.items()}
    for right in [setting.least] + ([] if setting.most is None else [setting.most]):
        check_settings(dict(values, **{name: right}))


def test_the_parts_of_keepalive_have_their_bounds_in_order():
    values = {name: setting.default for name, setting in KEYWORDS.items()}
    most = tuple(SETTINGS["keepalive." + part].most for part in ("idle", "interval", "count"))
    check_settings(dict(values, keepalive=most))
    check_settings(dict(values, keepalive=(1, 1, 1)))
    for wrong in ((0, 1, 1), (1, 1, most[2] + 1), (1, 1)):
        with pytest.raises(ValueError, match="keepalive is "):
            check_settings(dict(values, keepalive=wrong))


@pytest.mark.parametrize("default, unit, text", [
    (256 << 20, "BYTES", "256M"), (8192, "BYTES", "8K"), (0, "BYTES", "0"), (1000, "BYTES", "1000"), (100000, "N", "100000"),
    (60.0, "SECONDS", "60"), (0.5, "SECONDS", "0.5"), ("every", "WHEN", "every")])
def test_the_help_has_the_default_as_one_writes_it(default, unit, text):
    assert Setting("x", default, "--x", unit, "what (default: %s)").help == "what (default: %s)" % text


def test_a_handles_prefix_is_the_machines_name_unless_it_is_told(monkeypatch):
    monkeypatch.setattr("gearman_std.server.settings.machine_name", lambda: "n" * 60)
    assert pack_prefix(None) == b"H:" + b"n" * 40
    assert (pack_prefix("x"), pack_prefix(b"y")) == (b"x", b"y")
    for wrong in ("", "a b", "x" * 44, b"\n"):
        with pytest.raises(ValueError, match="handle_prefix is "):
            pack_prefix(wrong)
