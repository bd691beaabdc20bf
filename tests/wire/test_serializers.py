"""How workloads and results are made bytes and back."""
import pytest

from gearman_std.wire.serializers import find_serializer


@pytest.mark.parametrize("name, value, data", [
    (None, "ä", b"\xc3\xa4"),
    ("bytes", b"\0\xff", b"\0\xff"),
    ("bytes", bytearray(b"x"), b"x"),
    ("bytes", memoryview(b"x"), b"x"),
    ("bytes", None, b""),
    ("json", {"a": [1, None, "ä"]}, b'{"a": [1, null, "\\u00e4"]}'),
])
def test_bytes_for_the_wire(name, value, data):
    assert bytes(find_serializer(name).dumps(value)) == data


@pytest.mark.parametrize("name, value", [
    ("bytes", b"\0\xff"),
    ("json", {"a": [1, None, "ä"]}),
    ("json", None),
    ("pickle", {"a": (1, b"x", {2})}),
    ("pickle", None),
])
def test_there_and_back(name, value):
    serializer = find_serializer(name)
    assert serializer.loads(serializer.dumps(value)) == value


@pytest.mark.parametrize("name", ["json", "pickle"])
def test_an_empty_result_is_none(name):
    """Workers of other languages complete jobs without a result."""
    assert find_serializer(name).loads(b"") is None


@pytest.mark.parametrize("name, value, error", [
    (None, 1, TypeError), (None, {"a": 1}, TypeError), ("json", b"x", TypeError), ("json", {1, 2}, TypeError),
])
def test_what_cannot_be_sent_is_an_error(name, value, error):
    with pytest.raises(error):
        find_serializer(name).dumps(value)


@pytest.mark.parametrize("data", [b"hello", b"\xff", b"{" * 100, b"[" * 100000])
def test_what_is_no_json_is_shown(data):
    with pytest.raises(ValueError, match="no JSON.*: b") as caught:
        find_serializer("json").loads(data)
    assert repr(data[:20])[:-1] in str(caught.value) and len(str(caught.value)) < 300


def test_one_may_bring_ones_own():
    class Upper:
        @staticmethod
        def dumps(value):
            return value.upper().encode()

        @staticmethod
        def loads(data):
            return data.decode().lower()

    assert find_serializer(Upper) is Upper


@pytest.mark.parametrize("serializer", ["yaml", "", 7, object()])
def test_anything_else_is_refused(serializer):
    with pytest.raises(ValueError):
        find_serializer(serializer)
