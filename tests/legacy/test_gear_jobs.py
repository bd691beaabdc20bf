"""The jobs of the library gear."""
import pytest

from gearman_std.legacy.gear_jobs import BinaryJob, Job, TextJob, TextWorkerJob, WorkerJob


class Connection:
    """Notes what is sent."""

    def __init__(self):
        self.sent = []

    def sendPacket(self, packet):
        self.sent.append((packet.ptype, packet.data))


def test_names_are_text_and_what_is_sent_is_bytes():
    job = Job("größe", b"\xff", "ü")
    assert (job.name, job.arguments, job.unique) == ("größe", b"\xff", "ü".encode())
    assert (job.binary_name, job.binary_arguments, job.binary_unique) == ("größe".encode(), b"\xff", "ü".encode())
    assert (job.handle, job.connection, job.complete, job.failure, job.data, job.exception) == (
        None, None, False, False, [], None)
    assert BinaryJob(b"\xff", b"").name == b"\xff"
    assert "handle: None name: größe unique: b'" in repr(job)


def test_text_jobs_are_text():
    job = TextJob("f", "größe", "ü")
    assert (job.arguments, job.unique, job.binary_arguments) == ("größe", "ü", "größe".encode())
    job.data.append("ä".encode())
    job.data.extend([b"b", "c"])
    job.data.insert(0, b"0")
    assert job.data == ["0", "ä", "b", "c"] and list(job.binary_data) == [b"0", "ä".encode(), b"b", b"c"]
    job.exception = "ö".encode()
    assert job.exception == "ö"
    job.arguments = job.unique = job.name = "é"
    assert (job.binary_arguments, job.binary_unique, job.binary_name) == ("é".encode(),) * 3
    assert TextJob("f", b"bytes").unique is None and TextJob("f", b"bytes").arguments == "bytes"


@pytest.mark.parametrize("make, text", [
    (lambda: Job("f", "text"), "arguments must be of type bytes or bytearray, not 'text'"),
    (lambda: Job("f", None), "arguments must be of type bytes or bytearray, not None"),
    (lambda: TextJob("f", 5), "arguments must be of type bytes or bytearray, not 5"),
    (lambda: Job(5, b""), "name must be of type bytes or bytearray, not 5"),
    (lambda: Job("f", b"", 5), "unique must be of type bytes or bytearray, not 5"),
    (lambda: WorkerJob(b"H:1", "f", b"").sendWorkComplete("text"), "data must be of type bytes or bytearray, not 'text'"),
])
def test_what_a_job_cannot_be_is_a_type_error(make, text):
    with pytest.raises(TypeError, match=text):
        make()


def test_data_is_a_list():
    with pytest.raises(ValueError, match="data must be a list, not 'x'"):
        Job("f", b"").data = "x"
    job = Job("f", b"")
    job.data = [b"x"]
    assert job.data == [b"x"]


def test_what_a_worker_sends():
    job = TextWorkerJob(b"H:1", b"f", b"")
    job.connection = Connection()
    job.sendWorkData("ä")
    job.sendWorkWarning(b"w")
    job.sendWorkStatus(1, 2)
    job.sendWorkComplete("done")
    job.sendWorkComplete()
    job.sendWorkException("why")
    job.sendWorkFail()
    assert job.connection.sent == [(28, "H:1\0ä".encode()), (29, b"H:1\0w"), (12, b"H:1\x001\x002"), (13, b"H:1\0done"),
                                   (13, b"H:1\0"), (25, b"H:1\0why"), (14, b"H:1")]
