"""A shift's servers and the connections to them: made, served, given up and tried again."""
import logging
import selectors

from ..errors import ProtocolError, ServerError, ServerLost
from ..wire.protocol import LARGEST_SIZE, told_limit
from ..wire.worker_session import GRAB_TYPES, SESSION_ASLEEP
from .connector import Connector
from .link import CONNECTED, CUT, DROPPED, FOR_EVER, HEARD, SILENT, USELESS_QUIET, Lane, WorkerLink, WorkerServer
from .shared import LinkReporter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List
    from ..wire.worker_session import Assignment
    from .shared import Shared
    from .slots import Slots


class Links:
    """The servers of a shift, the connections to them, and the selector that waits for these.

    It calls three functions, with the shift's lock held: `assign` with a connection, a job that has come on it, and the time;
    `dropped` with a connection that is no more; `moved` with a server, what happened to it, its state before and after, and
    why.

    Owner: the shift's lock, but for the selector, which is the thread's that waits in it.
    """

    def __init__(self, shared: "Shared", slots: "Slots", assign: "Callable[[WorkerLink, Assignment, float], None]",
                 dropped: "Callable[[WorkerLink], None]", moved: "Callable[[WorkerServer, str, str, str, str], None]") -> None:
        self.servers = [WorkerServer(address) for address in shared.worker.addresses]
        self.selector = shared.worker._system.make_selector()
        self.connector = Connector(shared)
        self._shared = shared
        self._slots = slots
        self._assign = assign
        self._dropped = dropped
        self._moved = moved

    def __repr__(self) -> str:
        return "<Links: %d servers, %d connections>" % (len(self.servers), len(self._slots.links))

    # --- Called by the thread that waits in the selector.

    def advance(self, now: float) -> None:
        """Take the connections that were made, and see to those that could not send."""
        arrivals, attention = self.connector.arrivals, self._shared.attention
        while arrivals:
            self._welcome(*arrivals.popleft(), now)
        while attention:
            self._attend(attention.popleft(), now)

    def check(self, now: float, due: "List[float]") -> None:
        """Give up connections on which nothing has moved for too long; ask for a job on those that have slept for long."""
        leaving, lanes = self._shared.leaving, self._slots.lanes
        for link in list(self._slots.links):
            patience = link.patience(leaving)
            if link.lane not in lanes and not link.busy:
                self.drop(link)  # its functions were withdrawn
                del link.server.links[link.lane]
            elif now - link.moved < patience:
                if patience < FOR_EVER:
                    due.append(link.moved + patience)
                elif link.rest_until > now:
                    due.append(link.rest_until)
            elif link.connection.unsent or link.session.grabs:
                self._give_up(link, now)
            else:
                link.session.rouse()
        for server in self.servers:
            if server.untold and now - server.useless_at >= USELESS_QUIET:
                self._tell_untold(server)
            elif server.untold:
                due.append(server.useless_at + USELESS_QUIET)

    def connect(self, now: float, due: "List[float]") -> None:
        """Begin to make the connections that are missing, except to servers that are in a pause after a failure."""
        lanes = self._slots.lanes
        for server in self.servers:
            if server.connecting:
                continue
            for lane in lanes:
                if lane not in server.links:
                    break
            else:
                continue  # it has all its connections
            if now < server.retry_at:
                due.append(server.retry_at)
                continue
            self.connector.connect(server, [lane for lane in lanes if lane not in server.links])

    def serve(self, link: WorkerLink, mask: int, now: float) -> None:
        """Send and receive what the selector says can be sent and received."""
        shared = self._shared
        if mask & selectors.EVENT_WRITE:
            link.moved = now
            shared.send(link)
            while link.results and link.results[0][0] <= link.connection.sent:
                shared.worker.totals[link.results.popleft()[2]] += 1
            shared.drained.notify_all()
            self._attend(link, now)
        if mask & selectors.EVENT_READ and not link.lost:
            try:
                while self._receive(link, now) and link.connection.pending:
                    pass
            except (ServerLost, ProtocolError) as error:
                self._lose(link, str(error), now)
            except MemoryError:
                self._lose(link, "%s sends more than there is memory for" % link.name, now)

    def drop(self, link: WorkerLink) -> None:
        """Forget a connection; nobody wants the results of its jobs that still run."""
        shared = self._shared
        link.move(DROPPED)
        self.selector.unregister(link.connection)
        link.connection.close()
        self._slots.links.remove(link)
        self._slots.give_back(link.lane, link.session.grabs)
        shared.drained.notify_all()
        for end, job, counted in link.results:
            if end > link.connection.sent:
                shared.note_loss(job)
            else:
                shared.worker.totals[counted] += 1
        link.results.clear()
        self._dropped(link)

    def close(self) -> None:
        """Drop all connections, and those that were made just now; the selector is closed later, without the lock."""
        for link in list(self._slots.links):
            self.drop(link)
        for server in self.servers:
            if server.untold:
                self._tell_untold(server)
        for connection in self.connector.connections():
            connection.close()

    def _welcome(self, server: WorkerServer, lanes: "List[Lane]", outcome: "Any", now: float) -> None:
        """Take the new connections to a server, one for each of these lanes, or the exception that came instead."""
        shared = self._shared
        server.connecting = False
        if isinstance(outcome, Exception):
            self._fail(server, DROPPED, str(outcome), now)
            return
        for lane, connection in zip(lanes, outcome):
            reporter = LinkReporter(shared, server.name, server.largest)
            reporter.link = link = WorkerLink(server, lane, connection, shared.worker.client_id, now, reporter)
            server.links[lane] = link
            self._slots.links.appendleft(link)
            self.selector.register(connection, selectors.EVENT_READ, link)
            if shared.leaving:
                link.session.retire()
            shared.send(link)
        self._move(server, CONNECTED)

    def _receive(self, link: WorkerLink, now: float) -> bool:
        reader = link.reader
        room = reader.room()
        received = link.connection.receive(room)
        if received is None:
            return False
        link.moved = now
        packets = reader.feed(received) if isinstance(received, bytes) else reader.filled(received)
        session = link.session
        for packet_type, arguments in packets:
            grabs = session.grabs
            outcome = session.receive(packet_type, arguments)
            if outcome is None:
                if session.grabs != grabs:  # there was no job
                    self._slots.give_back(link.lane, 1)
                    if session.state is SESSION_ASLEEP:
                        link.found_no_job(now)
            elif isinstance(outcome, ServerError):
                self._note_refusal(link, outcome, now)
            else:
                self._assign(link, outcome, now)
        if reader.error is not None:
            raise reader.error
        if session.confirmed and not link.server.confirmed:
            link.server.grab_type, link.server.confirmed = session.grab_type, True
        if link.state is SILENT and packets:
            link.move(HEARD)
            self._move(link.server, HEARD)
        return True

    def _attend(self, link: WorkerLink, now: float) -> None:
        """Have the selector tell when more can be sent, if something is left; drop the connection if sending failed."""
        if link.lost:
            return
        if link.error is not None:
            self._lose(link, str(link.error), now)
            return
        writing = link.connection.unsent
        if writing != link.writing:
            link.writing = writing
            self.selector.modify(link.connection, selectors.EVENT_READ | (selectors.EVENT_WRITE if writing else 0), link)

    def _note_refusal(self, link: WorkerLink, error: ServerError, now: float) -> None:
        """Count and log what a server refused, at most once a second.

        Of the results that it had no use for, only the first is logged, and at the end how many more: there may be many.
        """
        limit = told_limit(error)
        if limit is not None:
            link.reporter.largest, link.told_limit = limit, True
        gone = error.code == "JOB_NOT_FOUND"
        if gone:
            self._shared.worker.totals["refused"] += 1
            self._note_useless(link.server, error, now)
        elif now - link.refused_at >= 1.0:
            link.refused_at = now
            self._shared.notices.say(logging.ERROR, "%s refused something: %s", link.name, error)

    def _note_useless(self, server: WorkerServer, error: ServerError, now: float) -> None:
        if now - server.useless_at < USELESS_QUIET:
            server.untold += 1
        else:
            if server.untold:
                self._tell_untold(server)
            self._shared.notices.say(logging.WARNING, "%s has no use for a result any more: %s", server.name, error)
        server.useless_at = now

    def _tell_untold(self, server: WorkerServer) -> None:
        self._shared.notices.say(logging.WARNING, "%s had no use for %s since then", server.name,
                                 "one more" if server.untold == 1 else "%d more" % server.untold)
        server.untold = 0

    def _give_up(self, link: WorkerLink, now: float) -> None:
        """Drop a connection on which nothing moves; ask in another way next time, if this server has never answered."""
        if not link.session.confirmed:
            # gear's server says nothing to packets that it does not know; it knows the second way.
            link.server.grab_type = GRAB_TYPES[1] if link.session.grab_type == GRAB_TYPES[0] else GRAB_TYPES[0]
        self._lose(link, "%s did not answer" % link.name, now)

    def _lose(self, link: WorkerLink, reason: str, now: float) -> None:
        if link.lost:
            return
        silent = link.state is SILENT
        self.drop(link)
        server = link.server
        del server.links[link.lane]
        server.largest = link.reporter.largest if link.told_limit else LARGEST_SIZE  # after a restart the server may take more
        if not self._shared.leaving:
            self._fail(server, CUT if silent else DROPPED, reason, now, 0.0 if silent else now - link.since)

    def _fail(self, server: WorkerServer, event: str, reason: str, now: float, lived: float = 0.0) -> None:
        """Wait before a server is tried again; say so once."""
        server.back_off(now, self._shared.worker._system.random, lived)
        self._move(server, event, reason)

    def _move(self, server: WorkerServer, event: str, reason: str = "") -> None:
        before, after = server.move(event)
        self._moved(server, event, before, after, reason)

    # --- Called by any thread, in a child of a fork.

    def leave(self) -> None:
        """Close this process's sockets without a word: the other process goes on with them."""
        for link in self._slots.links:
            link.move(DROPPED)
        for connection in [link.connection for link in self._slots.links] + self.connector.connections():
            connection.leave()
        self.selector.close()
