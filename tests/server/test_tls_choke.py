"""No peer that speaks TLS can starve, crash or bloat the server either.

These are the tests of test_channels, but for those that count on much being read at once, since TLS comes in small parts,
and that which sends and receives in two threads, which Python's TLS does not allow.
"""
import os
import ssl

import pytest

from test_channels import (  # noqa: F401
    test_a_client_that_does_not_read_its_results_is_dropped_and_holds_nobody_up,
    test_a_packet_over_the_limit_is_refused_with_an_error_that_its_sender_can_read,
    test_a_line_over_the_limit_ends_the_connection,
    test_a_result_as_large_as_packets_may_be_does_not_count_as_unread,
    test_an_idle_server_does_not_wake_at_all,
    test_idle_peers_are_never_dropped,
    test_limits_of_functions_and_abilities_each_have_an_error,
    test_many_small_packets_that_nobody_reads_are_counted_with_the_memory_they_take,
    test_one_byte_at_a_time_is_not_going_on,
    test_one_peer_that_waits_a_million_times_for_the_same_job_cannot_bloat_the_server,
    test_those_who_send_much_at_once_share_the_time_of_a_round,
    test_what_waits_is_forgotten_when_the_connection_is_lost,
    test_what_was_sent_before_what_makes_no_sense_is_obeyed_first,
    test_who_completes_packets_is_not_dropped_though_there_is_always_half_a_packet,
    test_who_goes_on_slowly_is_not_dropped, test_who_is_refused_while_packets_of_it_wait_is_closed_when_it_leaves,
    test_who_leaves_a_packet_half_sent_is_dropped_after_the_stall_timeout,
    test_who_leaves_its_answers_unread_is_dropped_after_the_stall_timeout,
    test_who_waits_for_its_turns_with_half_a_packet_more_is_not_dropped_for_that,
    test_who_was_refused_and_goes_on_sending_is_closed_after_a_while, test_without_a_stall_timeout_nobody_is_dropped)
from server_tools import Place, Wire

FILES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tls")

CERTIFICATE = {"certificate": os.path.join(FILES, "server.pem")}


class TLSWire(Wire):
    """A socket to a server with TLS."""

    def wrap(self, plain):
        context = ssl.create_default_context(cafile=os.path.join(FILES, "ca.pem"))
        return context.wrap_socket(plain, server_hostname="localhost")


class TLSPlace(Place):
    """Servers and sockets of one test, all with TLS."""

    wire_class = TLSWire

    def serve(self, **settings):
        return super().serve(tls=CERTIFICATE, **settings)


@pytest.fixture
def place():
    place = TLSPlace()
    yield place
    place.end()
