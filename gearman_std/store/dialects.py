"""What PostgreSQL and MySQL say differently, as text, and the tables: `statements` makes of it all that is said to them.

Values are written into the statements, bytes as hexadecimal digits: so no driver's way of passing parameters matters, a
statement of many rows is one text, and nothing in a job can be taken for SQL.

Each table's name begins with gearman_std_:

    meta      'application' is 'gearman_std', so that these tables are known as ours, 'version' is the schema's, 'forgotten' has
              the largest epoch and the last handle of all servers whose rows were removed: a new row goes on after these
    servers   one row for each server that has ever written, until nothing is stored for it and it has been silent for long
        name       what the server is called
        epoch      counts its starts, and how often another one has taken its jobs: who does not know it may not write
        batch      counts the transactions, so that whether one was committed can be told later
        seen       when it last wrote, unix time by the database's clock
        started    when this epoch began
        handles    up to this number it may have given out handles
        take_over  after so many seconds of silence other servers may take its jobs; 0: never
        is_over    1 after it has ended in order, else 0
        adopted_by, adopted_at   which server took its jobs, and when; NULL unless that was after its last start
    jobs      one row for each background job
        handle     the whole handle
        server     the name of the server that has it
        function_name … workload   as in a file of SQLite, see the module schema
    results   one row for each background job that has ended and whose end is kept
        handle, server   as in jobs
        function_name … result   as in a file of SQLite
    orders    one row for each order of a server that stands
        server, name, function_name, value   as in a file of SQLite
"""
from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

SCHEMA_VERSION = 1
META_TABLE, SERVERS_TABLE = "gearman_std_meta", "gearman_std_servers"
JOBS_TABLE, RESULTS_TABLE, ORDERS_TABLE = "gearman_std_jobs", "gearman_std_results", "gearman_std_orders"

# The tables with their columns, and the type of each in a word that a dialect translates.
TABLES = {
    META_TABLE:
        "name name PRIMARY KEY, value name NOT NULL",
    SERVERS_TABLE:
        "name name PRIMARY KEY, epoch long NOT NULL, batch long NOT NULL, seen real NOT NULL, started real NOT NULL, "
        "handles long NOT NULL, take_over real NOT NULL, is_over short NOT NULL, adopted_by name, adopted_at real",
    JOBS_TABLE:
        "handle key PRIMARY KEY, server name NOT NULL, function_name bytes NOT NULL, unique_key bytes NOT NULL, reducer bytes, "
        "priority short NOT NULL, due real NOT NULL, attempts long NOT NULL, state word NOT NULL, error bytes NOT NULL, "
        "schedule bytes, created real NOT NULL, position long NOT NULL, workload bytes NOT NULL",
    RESULTS_TABLE:
        "handle key PRIMARY KEY, server name NOT NULL, function_name bytes NOT NULL, unique_key bytes NOT NULL, "
        "outcome word NOT NULL, ended real NOT NULL, waited real NOT NULL, ran real NOT NULL, attempts long NOT NULL, "
        "text bytes NOT NULL, data bytes, result bytes",
    ORDERS_TABLE:
        "server name NOT NULL, name word NOT NULL, function_name bytes NOT NULL, value bytes NOT NULL",
}


def column_names(table: str) -> "List[str]":
    """The names of the columns of one of our tables."""
    return [column.split()[0] for column in TABLES[table].split(", ")]


# `types`: what the words in TABLES are here; `table_ends`, or else `table_end`: what is said after the columns of a table.
# `value`: how bytes are written, of their hexadecimal digits.  `clock`: unix time.  `schema`: where new tables are.
# `add`, by the table: adds rows that take the place of others.  `update`: changes many jobs, told in rows as `update_row` with
# `update_comma` between them.  `session`: said on each new connection.  `unflushed`: said in a transaction that need not
# be on disk when it ends.  `facts` asks: can it only be read, which letters does it know, how long may a statement be,
# and which settings make a commit less than safe.  `statement_size`: how many bytes a statement may have, and a row, if `facts`
# says 0.  `encodings`: those with all letters.  `lock` asks for the lock of a name, given by two numbers: 1 if we have it.
# `backend` asks what the server calls this connection; `has_backend` finds a row if that one is still there, and `end_backend`
# ends it.  `busy`: codes of errors after which a transaction is tried again; `lost`: after which the connection is of no use;
# `unknown`: of a statement that the database does not understand.
# `idle`: end a transaction in which nothing was said for so many milliseconds, if that can be set.  `text_value`: the bytes of
# a text; `name_value`: a name of somebody else's; `insertion_order`: the order in which rows were added, if that can be known.
Dialect = namedtuple(
    "Dialect", "title types table_ends table_end value clock schema add update update_row update_comma session unflushed facts "
    "statement_size encodings lock backend has_backend end_backend busy lost unknown idle text_value name_value "
    "insertion_order")

POSTGRES = Dialect(
    title="PostgreSQL",
    types={"name": "TEXT", "word": "TEXT", "key": "BYTEA", "bytes": "BYTEA", "real": "DOUBLE PRECISION", "long": "BIGINT",
           "short": "SMALLINT"},
    # Each transaction writes to the one row of a server, so that there has to be room for the next ones beside it.
    table_ends={SERVERS_TABLE: " WITH (fillfactor = 10)"},
    table_end="",
    value="'\\x%s'",
    clock="extract(epoch FROM clock_timestamp())::float8",
    schema="current_schema()",
    add={table: "INSERT INTO %s VALUES %%s ON CONFLICT (handle) DO UPDATE SET %s" % (
        table, ", ".join("%s = excluded.%s" % (column, column) for column in column_names(table)[1:]))
        for table in (JOBS_TABLE, RESULTS_TABLE)},
    update="UPDATE " + JOBS_TABLE + " AS jobs SET state = new.state, attempts = new.attempts, due = new.due, "
           "error = new.error, position = new.position FROM (VALUES %s) AS new (handle, state, attempts, due, error, position) "
           "WHERE jobs.handle = new.handle",
    update_row="('\\x%s'::bytea, '%s', %d, %r, '\\x%s'::bytea, %d)",
    update_comma=", ",
    session=("SET standard_conforming_strings = on", "SET extra_float_digits = 3", "SET lock_timeout = '5s'",
             "SET client_encoding = 'UTF8'", "SET application_name = 'gearman_std'"),
    unflushed="SET LOCAL synchronous_commit = off",
    facts="SELECT current_setting('transaction_read_only'), current_setting('server_encoding'), 0, "
          "CASE WHEN current_setting('fsync') = 'off' THEN 'fsync = off' "
          "WHEN current_setting('synchronous_commit') = 'off' THEN 'synchronous_commit = off' "
          "WHEN current_setting('full_page_writes') = 'off' THEN 'full_page_writes = off' ELSE '' END",
    statement_size=(1 << 30) - (1 << 20),
    encodings=("utf8",),
    lock="SELECT CASE WHEN pg_try_advisory_lock({0}, {1}) THEN 1 ELSE 0 END",
    backend="SELECT pid || ' ' || extract(epoch FROM backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid()",
    has_backend="SELECT 1 FROM pg_stat_activity WHERE pid || ' ' || extract(epoch FROM backend_start) = '{0}'",
    end_backend="SELECT pg_terminate_backend(split_part('{0}', ' ', 1)::int)",
    busy=("40001", "40P01", "55P03"),
    idle="SET idle_in_transaction_session_timeout = %d",
    lost=("25006", "57P01", "57P02", "57P03"),
    unknown=("42601",),
    text_value="convert_to(%s, 'UTF8')",
    name_value='"%s"',
    insertion_order="ORDER BY ctid",
)

MYSQL = Dialect(
    title="MySQL",
    types={"name": "VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "word": "VARCHAR(32) CHARACTER SET ascii",
           "key": "VARBINARY(255)", "bytes": "LONGBLOB", "real": "DOUBLE", "long": "BIGINT", "short": "SMALLINT"},
    table_ends={},
    table_end=" ENGINE=InnoDB",
    value="x'%s'",
    clock="(UNIX_TIMESTAMP(NOW(6)) + 0E0)",
    schema="DATABASE()",
    add={table: "REPLACE INTO %s VALUES %%s" % table for table in (JOBS_TABLE, RESULTS_TABLE)},
    update="UPDATE " + JOBS_TABLE + " AS jobs JOIN (%s) AS new ON jobs.handle = new.handle SET jobs.state = new.state, "
           "jobs.attempts = new.attempts, jobs.due = new.due, jobs.error = new.error, jobs.position = new.position",
    update_row="SELECT x'%s' AS handle, '%s' AS state, %d AS attempts, %r AS due, x'%s' AS error, %d AS position",
    update_comma=" UNION ALL ",
    # The time zone, as hours of local time come twice a year.
    session=("SET time_zone = '+00:00'", "SET sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'",
             "SET innodb_lock_wait_timeout = 5", "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"),
    unflushed="",
    facts="SELECT @@global.read_only, @@character_set_database, @@max_allowed_packet, "
          "CASE WHEN @@innodb_flush_log_at_trx_commit <> 1 "
          "THEN CONCAT('innodb_flush_log_at_trx_commit = ', @@innodb_flush_log_at_trx_commit) "
          "WHEN @@log_bin <> 0 AND @@sync_binlog <> 1 THEN CONCAT('sync_binlog = ', @@sync_binlog) ELSE '' END",
    statement_size=1 << 20,
    encodings=("utf8mb4", "utf8mb3", "utf8"),
    lock="SELECT GET_LOCK(CONCAT('gearman_std.', {1}, '.', MD5(DATABASE())), 0)",
    backend="SELECT CONNECTION_ID()",
    # The number may be that of another connection, after the server was started again.
    has_backend="SELECT 1 FROM DUAL WHERE IS_USED_LOCK(CONCAT('gearman_std.', {2}, '.', MD5(DATABASE()))) = {0}",
    end_backend="KILL {0}",
    busy=("1205", "1213"),
    lost=("1053", "1290", "1792", "1836", "1927"),
    unknown=("1064",),
    idle="SET SESSION wait_timeout = %d DIV 1000 + 1",
    text_value="CAST(%s AS BINARY)",
    name_value="`%s`",
    insertion_order="",
)
