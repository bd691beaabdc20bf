"""The options of `server`: gearmand's and ours, in the command line, the config file and the environment; what they make."""
import io
import os
import re
import subprocess
import sys

import pytest

from gearman_std.cli.cli import main
from gearman_std.cli.console import Console
from gearman_std.cli.daemon import LOG_LEVELS
from gearman_std.cli.options import HelpWanted, UsageError
from gearman_std.cli.server_options import make_server_line, parse_server, server_settings, setting_option, split_config
from gearman_std.server.access import PeerFacts
from gearman_std.server.server import Server
from gearman_std.server.settings import SETTINGS
from server_tools import server_command as server


def settings(*words, environment=None):
    return server_settings(parse_server(["--config-file", os.devnull] + list(words)), environment or {})


GEARMANDS = """-b 32 | --backlog=32 | -d | --daemon | --exceptions | -f 1024 | --file-descriptors=1024 | -j 3 | --job-retries 3
    --job-handle-prefix P | --hashtable-buckets 991 | --keepalive | --keepalive-idle 10 | --keepalive-interval=-1
    --keepalive-count 3 | -l none | --log-file=stderr | -L 127.0.0.1 | --listen ::1 -L localhost | -p 4730 | --port=4730
    -P /tmp/pid | --pid-file=/tmp/pid | -R | --round-robin | -q builtin | --queue-type=builtin | --syslog | --coredump
    -t 4 | --threads=0 | -u root | --user root | --verbose INFO | --verbose=FATAL | -w 0 | --worker-wakeup 3
    --libmemcached-servers x | --mysql-host x --mysql-port 3306 | --libpq-conninfo x | --redis-server x | --http-port 8080
    -r http | --protocol=http --http-port 80 | -r gear | --protocol=gear | -w -1 | --worker-wakeup=-1 | -b -1 | -b 0
    --keepalive-idle=0 | --keepalive-interval 0 --keepalive-count=-1 | -f 0 | --job-retries=-1 | -j 0
    --ssl --ssl-ca-file {0}/ca.pem --ssl-certificate {0}/server.pem --ssl-key {0}/server.pem | -dp4730""".format(
    os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")).replace("\n", "|").split("|")


@pytest.mark.parametrize("words", [words.strip() for words in GEARMANDS])
def test_gearmands_options_are_accepted(words):
    assert server("--check-args", *words.split()) == (0, "", "")


@pytest.mark.parametrize("words", [
    ["--bogus"], ["--verb", "INFO"], ["-v"], ["stray"], ["-p", "x"], ["-p", "65536"], ["-p", "1", "-p", "2"],
    ["--verbose", "info"],
    ["-q", "nosuch"], ["-t", "x"], ["-j", "-2"], ["-f", "-1"],
    ["--hashtable-buckets", "0"], ["-L"], ["--daemon=yes"], ["-b", "-2"], ["-w", "-2"],
    ["--policy", "x"], ["--policy", "coalescing=no"], ["--policy", "f:attempts=0"], ["--policy", "f:backoff=x"],
    ["--max-packet", "x"], ["--tls"], ["-L", "tls:127.0.0.1"],
    ["--tls", "--tls-certificate", "x", "--tls-require-certificate"],
    ["-L", "host:port"], ["-L", "unix:"], ["-L", "unix:sock"], ["--socket-mode", "9"], ["--socket-mode", "1777"],
    ["--keepalive-idle", "-2"], ["--keepalive-count", "128"], ["--allow-work", "x"], ["--allow-steer", "uid:no such user"],
    ["--allow-admin", "none", "--allow-admin", "any"], ["--allow-work", "cert:x"], ["-r", "gopher"],
    ["-r", "http", "--http-port", "x"], ["-L", "https:127.0.0.1"],
    ["--job-handle-prefix", "x" * 64], ["-u", ""], ["--sqlite3-db="], ["-b", "2147483648"], ["-f", "9" * 30],
    ["--tls-require-certificate", "-p", "1"], ["-r", "http", "-L", "unix:/no/such/folder/sock"],
])
def test_what_makes_no_sense(words):
    status, output, errors = server(*words)
    assert (status, output) == (2, "")
    assert errors.startswith("gearman-std server: ") and errors.count("\n") == 1


def test_settings_by_default():
    made = settings()
    assert (made["port"], made["listen"], made["wakeup"]) == (4730, (), None)
    assert (made["exceptions"], made["handle_prefix"]) == (False, None)
    assert made["policies"] == {} and made["policy"].retries == 5 and made["policy"].attempts == 1
    with Server(**dict(made, listen=["127.0.0.1"], port=0)) as server:
        assert server.addresses


def test_settings_by_options():
    made = settings("-p", "0", "-L", "127.0.0.1", "-L", "/tmp/x", "-w", "3", "--exceptions", "-b", "7", "--job-handle-prefix",
                    "X", "--max-packet", "1M", "--max-unsent", "2M", "--max-connections", "5", "--max-jobs", "6",
                    "--max-job-bytes", "7K", "--max-function-jobs", "8", "--max-function-job-bytes", "9",
                    "--max-functions", "10", "--max-abilities", "11",
                    "--stall-timeout", "1m", "--verbose", "DEBUG")
    limits = made["limits"]
    assert (made["listen"], made["wakeup"], made["exceptions"], made["backlog"]) == (("127.0.0.1", "/tmp/x"), 3, True, 7)
    assert (made["max_packet_size"], made["max_unsent"], made["max_connections"]) == (1 << 20, 2 << 20, 5)
    assert (made["stall_timeout"], made["verbosity"], made["handle_prefix"]) == (60.0, "DEBUG", b"X")
    assert [limits.jobs, limits.job_bytes, limits.function_jobs, limits.function_job_bytes] == [6, 7168, 8, 9]
    assert [limits.functions, limits.abilities] == [10, 11]
    with Server(**dict(made, listen=["127.0.0.1"])) as server:
        assert server.addresses


PEERS = {"here": PeerFacts("127.0.0.1"), "net": PeerFacts("10.1.1.1"), "user": PeerFacts(uid=7),
         "operator": PeerFacts("192.0.2.1", names=["operator"]), "stranger": PeerFacts("192.0.2.1")}


@pytest.mark.parametrize("words, who", [
    ([], {"submit": "here net user operator stranger", "work": "here net user operator stranger",
          "admin": "here net user operator stranger", "steer": "here user"}),
    (["--allow-submit", "10.0.0.0/8", "--allow-submit", "unix", "--allow-work", "cert:operator", "--allow-admin", "uid:7"],
     {"submit": "net user", "work": "operator", "admin": "user", "steer": "user"}),
    (["--allow-submit", "none", "--allow-work", "loopback", "--allow-steer", "any"],
     {"submit": "", "work": "here", "admin": "here net user operator stranger", "steer": "here net user operator stranger"}),
])
def test_who_may_do_what(words, who):
    access = settings(*words)["access"]
    for right, names in who.items():
        assert [name for name in sorted(PEERS) if right in access.rights(PEERS[name])] == sorted(names.split()), right


def test_where_it_listens():
    assert settings("-L", "127.0.0.1", "--socket-mode", "660")["listen"] == ("127.0.0.1",)
    assert settings("--socket-mode", "660")["socket_mode"] == 0o660
    assert settings()["socket_mode"] is None
    assert settings()["keepalive"] == (30, 10, 3)
    assert settings("--keepalive-idle", "7", "--keepalive-interval=-1", "--keepalive-count", "9")["keepalive"] == (7, 10, 9)
    assert settings("--keepalive-idle=0", "--keepalive-interval=0", "--keepalive-count=0")["keepalive"] == (30, 10, 3)
    assert settings("-r", "gear", "--http-port", "80")["listen"] == ()


def test_no_limit_is_minus_one_in_each_option_of_gearmands_that_has_one():
    made = settings("-w", "-1", "-b", "-1", "-j", "-1")
    assert (made["wakeup"], made["backlog"], made["policy"].retries) == (0, 2 ** 31 - 1, 0)
    assert settings("-b", "0")["backlog"] == 0


def test_tls_is_for_all_addresses_or_for_some():
    made = settings("--tls", "--tls-certificate", "pem", "-L", "127.0.0.1", "-L", "tcp:::1", "-L", "/tmp/x")
    assert made["listen"] == ("127.0.0.1", "tcp:::1", "/tmp/x")
    assert made["tls"] == {"certificate": "pem", "key": None, "ca": None, "required": False}
    made = settings("--ssl-certificate", "pem", "--ssl-key", "key", "--ssl-ca-file", "ca", "--tls-require-certificate",
                    "-L", "127.0.0.1", "-L", "tls:0.0.0.0:4731", "-L", "unix:/tmp/x")
    assert made["listen"] == ("tcp:127.0.0.1", "tls:0.0.0.0:4731", "unix:/tmp/x")
    assert made["tls"] == {"certificate": "pem", "key": "key", "ca": "ca", "required": True}
    assert settings("--tls-certificate", "pem", "-L", "127.0.0.1")["tls"] is None


@pytest.mark.parametrize("words, places", [
    ("-L 127.0.0.1", ["127.0.0.1", "http:127.0.0.1:8080"]),
    ("", ["", "http::8080"]),
    ("--http-port 81 -L localhost:4731 -L ::1 -L unix:/tmp/x",
     ["localhost:4731", "::1", "unix:/tmp/x", "http:localhost:81", "http:[::1]:81"]),
    ("-L 127.0.0.1:4731 -L 127.0.0.1:4732", ["127.0.0.1:4731", "127.0.0.1:4732", "http:127.0.0.1:8080"]),
    ("--tls --tls-certificate pem -L 127.0.0.1 -L tcp:::1", ["127.0.0.1", "tcp:::1", "https:127.0.0.1:8080",
                                                             "http:[::1]:8080"]),
    ("--tls --tls-certificate pem", ["", "https::8080"]),
    ("--tls-certificate pem -L tls:0.0.0.0 -L 127.0.0.1", ["tls:0.0.0.0", "tcp:127.0.0.1", "https:0.0.0.0:8080",
                                                           "http:127.0.0.1:8080"]),
    ("--tls-certificate pem -L tls::4731 -L tcp:127.0.0.1", ["tls::4731", "tcp:127.0.0.1", "https::8080"]),
    ("-L 127.0.0.1 -L http:127.0.0.1:81", ["127.0.0.1", "http:127.0.0.1:81", "http:127.0.0.1:8080"]),
])
def test_http_is_spoken_on_the_same_hosts_with_tls_where_they_have_it(words, places):
    assert settings("-r", "http", *words.split())["listen"] == tuple(places)


def test_http_may_be_spoken_on_some_addresses_only():
    assert settings("-L", "127.0.0.1", "-L", "http:[::1]:81")["listen"] == ("127.0.0.1", "http:[::1]:81")
    made = settings("--tls-certificate", "pem", "-L", "https:127.0.0.1:81", "-L", "127.0.0.1")
    assert made["listen"] == ("https:127.0.0.1:81", "tcp:127.0.0.1") and made["tls"]["certificate"] == "pem"


def test_the_environment_names_the_files_of_tls_if_nothing_else_does():
    """gearmand's environment variables win over its command line; here it is the other way round, as for everything else."""
    environment = {"GEARMAND_SERVER_PEM": "pem", "GEARMAND_SERVER_KEY": "key", "GEARMAND_CA_CERTIFICATE": "ca"}
    assert settings("--ssl", environment=environment)["tls"] == {
        "certificate": "pem", "key": "key", "ca": "ca", "required": False}
    made = settings("--ssl", "--ssl-certificate", "x", "--ssl-key", "y", "--ssl-ca-file", "z", environment=environment)
    assert made["tls"] == {"certificate": "x", "key": "y", "ca": "z", "required": False}
    assert settings(environment=environment)["tls"] is None


def test_policies():
    made = settings("-j", "2", "--policy", "coalescing=reject", "--policy", "a:retries=0,attempts=3,backoff=2,backoff-max=1m",
                    "--policy", "x:y:coalescing=rerun")
    default, policies = made["policy"], made["policies"]
    assert (default.retries, default.coalescing, default.attempts) == (2, "reject", 1)
    assert sorted(policies) == [b"a", b"x:y"]
    assert (policies[b"a"].retries, policies[b"a"].coalescing, policies[b"a"].attempts) == (0, "reject", 3)
    assert (policies[b"a"].backoff, policies[b"a"].backoff_max) == (2.0, 60.0)
    assert (policies[b"x:y"].coalescing, policies[b"x:y"].retries) == ("rerun", 2)


@pytest.mark.parametrize("words, retries", ((["-j", "-1"], 0), (["--job-retries=-1"], 0), (["-j", "0"], 1), (["-j", "1"], 1),
                                            (["-j", "7"], 7), (["--policy", "retries=-1"], 0), (["--policy", "retries=0"], 0)))
def test_no_limit_of_lost_attempts_is_minus_1_as_in_gearmand(words, retries):
    """And 0 is, as in its newer releases, no second attempt; in a policy 0 is no limit, too."""
    assert settings(*words)["policy"].retries == retries


def test_the_policy_of_a_function_may_be_told_bit_by_bit():
    made = settings("--policy", "f:coalescing=rerun,attempts=3", "--policy", "f:attempts=4", "--policy", "f:backoff=2")
    policy = made["policies"][b"f"]
    assert (policy.coalescing, policy.attempts, policy.backoff) == ("rerun", 4, 2.0)


def test_the_environment_names_the_port_if_nothing_else_does():
    assert settings(environment={"GEARMAND_PORT": "4999"})["port"] == 4999
    assert settings("-p", "4730", environment={"GEARMAND_PORT": "4999"})["port"] == 4730
    assert settings(environment={"GEARMAND_PORT": "tcp://10.96.0.17:4731"})["port"] == 4730, "as Kubernetes sets it"
    with pytest.raises(UsageError):
        settings(environment={"GEARMAND_PORT": "x"})


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about command lines of any bytes")
@pytest.mark.parametrize("word", [b"cert:M\xc3\xbcller", b"cert:M\xfcller"])
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_the_name_of_a_certificate_is_the_same_in_every_locale(root, word, locale):
    code = ("from gearman_std.cli.console import read_words; "
            "from gearman_std.cli.server_options import parse_server, server_settings; "
            "print(ascii(sorted(server_settings(parse_server(read_words()), {})['access'].certificate_names)))")
    said = subprocess.check_output([sys.executable, "-c", code, "--config-file", os.devnull, b"--allow-work", word], cwd=root,
                                   env=dict(os.environ, LC_ALL=locale))
    assert said == b"['M\\xfcller']\n"


@pytest.mark.parametrize("text, words", [
    ("--port=4999  -L 127.0.0.1 # a comment\n\n# --daemon\n#-d -R\r\n\t-R\r-d", "--port=4999|-L|127.0.0.1|-R|-d"),
    ("--log-file=a#b.log --redis-password=it's", "--log-file=a#b.log|--redis-password=it's"),
    ('--log-file="a b"\n-l \\\n', '--log-file="a|b"|-l|\\'),
    ("--job-handle-prefix #x # and a comment\n-l # --daemon", "--job-handle-prefix|#x|-l|#|--daemon"),
])
def test_the_config_files_words_are_gearmands(text, words):
    """But for comments, where it goes on to look for options."""
    assert split_config(make_server_line(), text.encode()) == words.split("|")


def test_the_config_files_words_are_any_bytes():
    word = bytes(set(range(1, 256)) - set(b" \t\n\r\x0b\x0c"))
    assert [os.fsencode(one) for one in split_config(make_server_line(), b"x" + word + b" y\xa0z")] == [b"x" + word, b"y\xa0z"]


def test_the_mark_in_front_of_a_file_of_utf_8_belongs_to_no_word():
    assert split_config(make_server_line(), b"\xef\xbb\xbf--listen=127.0.0.1\n-p 1\n") == ["--listen=127.0.0.1", "-p", "1"]


def test_the_command_line_wins_over_the_config_file(tmp_path):
    path = tmp_path / "conf"
    path.write_text("--port=4999\n-L ::1\n--verbose INFO\n")
    options = parse_server(["--config-file", str(path), "-L", "127.0.0.1"])
    assert (options.port, options.listen, options.verbose) == (4999, ["127.0.0.1"], "INFO")


@pytest.mark.parametrize("text", ["--bogus\n", "--port\n", "--port='1'\n"])
def test_a_config_file_that_makes_no_sense_names_itself(tmp_path, text):
    path = tmp_path / "conf"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse_server(["--config-file", str(path)])
    assert str(path) in str(caught.value)


def test_a_config_file_may_be_in_another_encoding(tmp_path):
    path = tmp_path / "conf"
    path.write_bytes(b"--log-file=/var/log/\xe9 # f\xfcr Gearman\n")
    assert os.fsencode(parse_server(["--config-file", str(path)]).log_file) == b"/var/log/\xe9"


def test_words_of_the_config_file_that_are_no_options_are_told_and_ignored(tmp_path):
    """gearmand ignores them silently."""
    path = tmp_path / "conf"
    path.write_text("port=4999\n--backlog 5\n")
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    assert main(["server", "--check-args", "--config-file", str(path)], there) == 0
    assert there.stderr.getvalue().startswith(b"gearman-std server: 'port=4999' in the config file is no option")


def test_a_config_file_that_is_not_there():
    there = Console("", io.BytesIO(), io.BytesIO(), io.BytesIO())
    assert main(["server", "--config-file", "/no/such/file"], there) == 1
    assert there.stderr.getvalue() == b"gearman-std server: /no/such/file: No such file or directory\n"


@pytest.mark.parametrize("word", ["-h", "-H", "--help"])
def test_help(word):
    with pytest.raises(HelpWanted):
        parse_server([word])
    status, output, errors = server(word)
    assert (status, errors) == (0, "")
    for name in ("--listen", "--job-retries", "SIGUSR1", "GEARMAND_PORT"):
        assert name in output


def test_help_lists_every_option_with_what_it_does():
    line = make_server_line()
    text = line.help(100)
    for option in line.options:
        assert option.help, option
        for name in option.names:
            assert re.search(r"(^  |, )%s\b" % re.escape(name), text, re.M), name
    assert all(len(shown) <= 128 for shown in text.split("\n"))


@pytest.mark.parametrize("word", ["-V", "--version"])
def test_version(word):
    status, output, _ = server(word)
    assert status == 0 and output.startswith("gearman_std ")


STORE_OPTIONS = """-q sqlite3 --sqlite3-db DB | -q libsqlite3 --libsqlite3-db DB | --queue-type=libsqlite3 --libsqlite3-db=DB
    --libsqlite3-table t | -q libsqlite3 --libsqlite3-db DB --store-queue-on-shutdown | --sqlite3-db DB --durability batch
    | -q sqlite3 --sqlite3-db DB --import-gearmand old.db:queue | -q builtin --libsqlite3-db DB
    | -q postgres | -q Postgres --libpq-conninfo host=/tmp --libpq-table t --server-name a --import-gearmand queue
    | -q mysql --mysql-host x --mysql-port 3306 --mysql-user u --mysql-password p --mysql-db d --mysql-table t | -q MySQL
    --durability batch""".replace("\n", " ").split("|")


@pytest.mark.parametrize("words", [words.strip() for words in STORE_OPTIONS])
def test_options_of_the_store(words, tmp_path):
    assert server("--check-args", *words.replace("DB", str(tmp_path / "jobs.db")).split()) == (0, "", "")
    assert os.listdir(str(tmp_path)) == [], "--check-args leaves nothing behind"


@pytest.mark.parametrize("words, complaint", [
    (["-q", "sqlite3"], "-q sqlite3 needs --sqlite3-db FILE"),
    (["-q", "libsqlite3"], "-q libsqlite3 needs --sqlite3-db FILE"),
    (["--sqlite3-db", ""], "--sqlite3-db: a value is wanted"),
    (["--durability", "batch"], "--durability needs -q sqlite3"),
    (["--import-gearmand", "x"], "--import-gearmand needs -q sqlite3"),
    (["--sqlite3-db", "x", "--durability", "never"], "--durability"),
    (["--server-name", "a"], "--server-name needs -q postgres or mysql"),
    (["-q", "postgres", "--sqlite3-db", "x"], "--sqlite3-db needs -q sqlite3"),
    (["-q", "postgres", "--libpq-conninfo", "host"], "-q postgres: the conninfo is neither words such as host=NAME nor a URI"),
    (["-q", "mysql", "--server-name", "a'b"], "-q mysql: \"a'b\" is no name for a server"),
    (["-q", "mysql", "--import-gearmand", "a;b"], "-q mysql: 'a;b' is no name of a table"),
    (["--sqlite3-db", "x", "--durability", "batch", "--store-queue-on-shutdown"],
     "--store-queue-on-shutdown is not --durability"),
])
def test_options_of_the_store_that_make_no_sense(words, complaint):
    status, output, errors = server(*words)
    assert (status, output) == (2, "")
    assert complaint in errors and errors.count("\n") == 1


def test_what_becomes_of_the_options_of_the_store(tmp_path):
    path = str(tmp_path / "jobs.db")
    assert settings()["store"] is None
    assert settings("-q", "builtin", "--libsqlite3-db", path)["store"] is None
    store = settings("-q", "sqlite3", "--sqlite3-db", path)["store"]
    assert (store.path, store.durability) == (os.path.realpath(path), "every")
    assert settings("--libsqlite3-db", path, "--store-queue-on-shutdown")["store"].durability == "exit"
    assert settings("--sqlite3-db", path, "--durability", "batch")["store"].durability == "batch"


# --- The settings of the server are declared once: what is of them here.

# What has no option: what options of the command put together, and what it sets itself.
WITHOUT_OPTION = {"policies", "version", "handshake_timeout", "policy.coalescing", "policy.attempts", "policy.backoff",
                  "policy.backoff_max", "policy.keep", "policy.keep_bytes", "statistics.functions"}
WHOLE = {setting.keyword for setting in SETTINGS.values() if setting.part}


def test_every_setting_has_its_option_in_the_help_or_is_known_to_have_none():
    shown = {name: option for option in make_server_line().options for name in option.names}
    for name, setting in SETTINGS.items():
        if not setting.options:
            assert name in WITHOUT_OPTION | WHOLE, "the setting %s has no option" % name
        for word in setting.options.split():
            assert word in shown, "make_server_line does not show the option %s of the setting %s" % (word, name)
            assert (shown[word].metavar, shown[word].help) == (setting.unit, setting.help)


def test_every_setting_reaches_the_server_from_the_command_line_and_the_config_file(tmp_path):
    """Each with a value other than its default."""
    values = {"PORT": "7", "MODE": "600", "N": "7", "SECONDS": "7", "BYTES": "7", "FILE": str(tmp_path / "file"),
              "WHEN": "batch", "PREFIX": "X", "LEVEL": "DEBUG", "ADDRESS": "127.0.0.1", "WHO": "unix"}
    config = tmp_path / "config"
    for name, setting in SETTINGS.items():
        if not setting.options or setting.keyword == "tls":  # which needs files that can be read
            continue
        word = setting.options.split()[-1] + ("=" + values[setting.unit] if setting.unit else "")
        others = ["--sqlite3-db", "jobs.db"] if name == "store.durability" else []
        config.write_text(word)
        filed = server_settings(parse_server(["--config-file", str(config)] + others), {})
        made = [settings(word, *others), filed, settings(*others)]
        shown = [repr(getattr(one[setting.keyword], setting.part, None)
                      if setting.keyword in ("limits", "policy", "statistics", "store")
                      else one[setting.keyword]) for one in made]
        assert shown[0] == shown[1] != shown[2], name


def test_an_option_takes_what_the_server_takes_and_no_more():
    for name, setting in SETTINGS.items():
        if setting.options and not setting.part and setting.most is not None:
            read = setting_option(name).convert
            write = "{:o}".format if setting.unit == "MODE" else str
            setting.check(read(write(setting.least)))
            for beyond in (setting.most + 1, -2):
                with pytest.raises(ValueError):
                    read(write(beyond))
                with pytest.raises(ValueError):
                    setting.check(beyond)


def test_the_help_names_the_levels_of_the_log():
    assert " ".join(LOG_LEVELS) in SETTINGS["verbosity"].help
