"""Capture files: whole TCP connections with the bytes that passed, which Wireshark's dissector reads."""
import io
import socket
import struct
import subprocess

import pytest

from gearman_std.trace.pcap import Capture
from gearman_std.wire.protocol import (JOB_CREATED, SUBMIT_JOB, WORK_COMPLETE, pack_request, pack_response)

SUBMIT = pack_request(SUBMIT_JOB, b"resize", b"u-17", b"data")
CREATED = pack_response(JOB_CREATED, b"H:host:1")
DONE = pack_response(WORK_COMPLETE, b"H:host:1", b"x" * 200000)


def tell(capture, client="10.1.2.3:5000", server="10.1.2.4:4731"):
    """One connection from its beginning to its end."""
    capture.opened(1, 1700000000.25, client, server)
    capture.took(1, True, 1700000000.5, SUBMIT)
    capture.took(1, False, 1700000000.75, memoryview(CREATED))
    capture.took(1, False, 1700000001.0, DONE)
    capture.ended(1, True, 1700000001.25, False)
    capture.ended(1, False, 1700000001.25, False)
    capture.closed(1, 1700000001.25)


def captured(**places):
    file = io.BytesIO()
    tell(Capture(file.write), **places)
    return file.getvalue()


def packets(data):
    """(time, version of IP, addresses, ports, numbers, flags, payload) of each packet."""
    magic, major, minor, _, _, _, link = struct.unpack_from("<IHHiIII", data)
    assert (magic, major, minor, link) == (0xa1b2c3d4, 2, 4, 101)
    position, found = 24, []
    while position < len(data):
        seconds, micro, size, whole = struct.unpack_from("<IIII", data, position)
        assert size == whole
        packet = data[position + 16:position + 16 + size]
        position += 16 + size
        if packet[0] >> 4 == 4:
            assert struct.unpack_from(">H", packet, 2)[0] == size
            total = sum(struct.unpack_from(">10H", packet))
            assert (total & 0xffff) + (total >> 16) == 0xffff
            hosts, segment = (packet[12:16], packet[16:20]), packet[20:]
        else:
            assert struct.unpack_from(">H", packet, 4)[0] == size - 40
            hosts, segment = (packet[8:24], packet[24:40]), packet[40:]
        source, target, number, acknowledged, _, flags = struct.unpack_from(">HHIIBB", segment)
        found.append((seconds + micro / 1e6, packet[0] >> 4, hosts, (source, target), (number, acknowledged), flags,
                      segment[20:]))
    return found


def stream(found, from_server):
    """The bytes of one direction, in the order of their sequence numbers."""
    data = {}
    for _, _, _, ports, numbers, _, payload in found:
        if (ports[0] == 4730) == from_server and payload:
            data[numbers[0]] = payload
    joined = b""
    for number in sorted(data):
        assert number == len(joined) + 1
        joined += data[number]
    return joined


def test_the_bytes_are_those_that_passed():
    found = packets(captured())
    assert stream(found, False) == SUBMIT
    assert stream(found, True) == CREATED + DONE
    assert found[0][5] == 2 and found[1][5] == 18 and found[0][3] == (5000, 4730)
    assert found[0][0] == 1700000000.25
    assert found[0][2] == (bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4]))
    assert [flags for *_, flags, _ in found if flags & 1] == [17, 17]


@pytest.mark.parametrize("client, server, version, hosts", [
    ("[::1]:5000", "[::2]:4730", 6, ("::1", "::2")), ("[::1]:5000", "1.2.3.4:1", 6, ("::1", "::1")),
    ("1.2.3.4:5", "queue:4730", 4, ("1.2.3.4", "127.0.0.1")), ("a Unix socket", "/run/server", 4, ("127.0.0.1", "127.0.0.1"))])
def test_addresses_of_all_kinds(client, server, version, hosts):
    found = packets(captured(client=client, server=server))
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    assert {packet[1] for packet in found} == {version}
    assert found[0][2] == tuple(socket.inet_pton(family, host) for host in hosts)
    assert stream(found, True) == CREATED + DONE


def test_a_connection_that_breaks_or_cannot_be_made_ends_with_rst():
    file = io.BytesIO()
    capture = Capture(file.write)
    capture.opened(1, 1.0, "1.2.3.4:5", "1.2.3.5:6")
    capture.failed(1, 2.0, "refused")
    capture.closed(1, 2.0)
    capture.opened(2, 3.0, "1.2.3.4:6", "1.2.3.5:6")
    capture.ended(2, True, 4.0, True)
    capture.ended(2, False, 4.0, True)
    assert [flags for *_, flags, _ in packets(file.getvalue())] == [2, 18, 16, 20, 2, 18, 16, 20]


@pytest.mark.interop
def test_wireshark_reads_it(require, tmp_path):
    path = str(tmp_path / "capture.pcap")
    with open(path, "wb") as file:
        tell(Capture(file.write))
    fields = ["gearman.pkt_type", "gearman.func.name", "gearman.uniq_id", "gearman.job.handle"]
    command = [require("tshark"), "-r", path, "-Y", "gearman", "-T", "fields"]
    command += [word for name in fields for word in ("-e", name)]
    told = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60, universal_newlines=True)
    assert told.returncode == 0, told.stderr
    rows = [line.split("\t") for line in told.stdout.splitlines()]
    assert [(row[0], row[1], row[2], row[3]) for row in rows] == [
        ("7", "resize", "u-17", ""), ("8", "", "", "H:host:1"), ("13", "", "", "H:host:1")]
    told = subprocess.check_output([require("tshark"), "-r", path, "-Y", "tcp.analysis.flags || _ws.malformed"],
                                   stderr=subprocess.DEVNULL, timeout=60)
    assert told == b""
