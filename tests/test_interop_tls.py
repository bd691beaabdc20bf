"""Real work through TLS: Perl's client and worker with our server, and through a tunnel those of C, PHP and gear, as Debian's
have no TLS; and what programs without TLS get to hear."""
import os
import select
import socket
import ssl
import subprocess
import threading

import pytest

from gearman_std.client.admin import AdminClient
from gearman_std.client.client import Client
from gearman_std.server.server import Server
from test_interop import EXPECTED, IDLE, LONG, data_of, program
from patience import until

pytestmark = pytest.mark.interop

FILES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "tls")
SIZES = (0, 1, 1000, 16384, 40000, 300000)

# The arguments are the port, a file of authorities, and one with certificate and key, or none.
SETTINGS = """
use strict;
my ($port, $ca, $certificate) = @ARGV;
my $server = {host => "127.0.0.1", port => $port, use_ssl => 1, ca_file => $ca,
              $certificate ? (cert_file => $certificate, key_file => $certificate) : ()};
"""
PERL_WORKER = SETTINGS + """
use Gearman::Worker;
my $worker = Gearman::Worker->new();
$worker->job_servers($server);
$worker->register_function(reverse => sub { return scalar reverse $_[0]->arg; });
$worker->work() while 1;
"""
PERL_CLIENT = SETTINGS + """
use Gearman::Client;
my $client = Gearman::Client->new();
$client->job_servers($server);
for my $size (SIZES) {
    my $data = substr("1234567890" x ($size / 10 + 1), 0, $size);
    my $result = $client->do_task("reverse", \\$data, {timeout => 30});
    print defined $result && $$result eq reverse($data) ? "good\\n" : "bad $size\\n";
}
print $client->dispatch_background("later", "x") ? "good\\n" : "bad background\\n";
""".replace("SIZES", ", ".join(map(str, SIZES)))


def file(name):
    return os.path.join(FILES, name + ".pem")


@pytest.fixture
def perl(require):
    """Perl with its Gearman library and TLS."""
    path = require("perl")
    if subprocess.call([path, "-MGearman::Client", "-MGearman::Worker", "-MIO::Socket::SSL", "-e1"],
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        require.missing("Perl's Gearman::Client with IO::Socket::SSL is not installed")
    return path


@pytest.mark.parametrize("certificate", [None, file("client")])
def test_perls_client_and_worker(perl, processes, certificate):
    tls = {"certificate": file("server"), "ca": file("ca"), "required": certificate is not None}
    with Server(port=0, tls=tls) as server:
        arguments = [str(server.address[1]), file("ca")] + ([certificate] if certificate else [])
        processes.start([perl, "-e", PERL_WORKER] + arguments)
        client = processes.start([perl, "-e", PERL_CLIENT] + arguments, stdout=subprocess.PIPE)
        assert client.communicate(timeout=50)[0].split() == [b"good"] * (len(SIZES) + 1)
        ours = {"ca": file("ca")}
        if certificate:
            ours["certificate"] = certificate
        with AdminClient(server.address, tls=ours) as admin, Client([server.address], tls=ours) as client:
            assert {job.function: job.total for job in admin.status()} == {b"reverse": 0, b"later": 1}
            assert client.run("reverse", b"abc") == b"cba"


def test_perls_client_without_a_certificate_is_turned_away(perl, processes):
    with Server(port=0, tls={"certificate": file("server"), "ca": file("ca"), "required": True}) as server:
        client = processes.start([perl, "-e", PERL_CLIENT, str(server.address[1]), file("ca")], stdout=subprocess.PIPE,
                                 stderr=subprocess.DEVNULL)
        assert b"good" not in client.communicate(timeout=50)[0]
        until(lambda: server.core.counters["tls_handshakes_failed"])
        assert not server.core.jobs


class Tunnel:
    """Passes connections in the clear on as connections with TLS and a client's certificate.

    Owner: the test; each connection has a thread of its own.
    """

    def __init__(self, address):
        self._address = address
        self._context = ssl.create_default_context(cafile=file("ca"))
        self._context.load_cert_chain(file("client"))
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)

    def __enter__(self):
        self._accepting.start()
        return self

    def __exit__(self, *error):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(LONG)
        self._listener.close()

    def _accept(self):
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return  # it was shut down
            threading.Thread(target=self._relay, args=(near,), daemon=True).start()

    def _relay(self, near):
        plain = socket.create_connection(self._address)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with near, self._context.wrap_socket(plain, server_hostname="localhost") as far:
            while True:
                ready = [far] if far.pending() else select.select([near, far], [], [])[0]
                for source, target in ((near, far), (far, near)):
                    if source not in ready:
                        continue
                    try:
                        source.setblocking(False)  # what arrived of TLS may be nothing to read
                        data = source.recv(65536)
                        target.setblocking(True)
                        target.sendall(data)
                    except ssl.SSLWantReadError:
                        continue
                    except OSError:
                        return
                    if not data:
                        return


@pytest.fixture
def tunnel():
    """The port of a tunnel to a server that wants certificates."""
    with Server(port=0, tls={"certificate": file("server"), "ca": file("ca"), "required": True}) as server:
        with Tunnel(server.address) as tunnel:
            yield str(tunnel.port)


@pytest.mark.parametrize("kind", ["gear", "php"])
def test_others_clients_and_workers_through_a_tunnel(require, processes, tunnel, kind):
    worker = processes.start(program(require, kind, "worker") + ["127.0.0.1", tunnel], stdout=subprocess.PIPE)
    assert worker.stdout.readline() == b"ready\n"
    command = program(require, kind, "client") + ["127.0.0.1", tunnel, next(IDLE)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    assert (done.stdout.decode(), done.stderr.decode(), done.returncode) == (EXPECTED[kind], "", 0)


@pytest.mark.parametrize("size", SIZES)
def test_the_command_gearman_through_a_tunnel(require, processes, tunnel, size):
    command = [require("gearman"), "-h", "127.0.0.1", "-p", tunnel, "-f", "turn"]
    worker = processes.start(command + ["-w", "-c", "1", "--", "rev"])
    done = subprocess.run(command, input=data_of(size), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=LONG)
    assert (done.stdout, done.stderr, done.returncode) == (data_of(size)[::-1], b"", 0)
    assert worker.wait(LONG) == 0


def test_programs_without_tls_are_turned_away(require):
    """Debian's gearadmin takes --ssl and speaks in the clear."""
    with Server(port=0, tls={"certificate": file("server")}) as server:
        done = subprocess.run([require("gearadmin"), "--ssl", "-h", "127.0.0.1", "-p", str(server.address[1]), "--status"],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=50)
        assert (done.returncode, done.stdout) == (1, b"")
        until(lambda: server.core.counters["tls_handshakes_failed"])
