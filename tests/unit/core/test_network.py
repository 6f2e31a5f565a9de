"""Ports and addresses of this machine."""

import os
import socket

from core import network


def test_a_free_port_can_be_listened_on_and_a_taken_one_names_its_process():
    port = network.free_port()
    assert network.port_problem("--port", "127.0.0.1", port) is None
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        listener.listen()
        problem = network.port_problem("--port", "127.0.0.1", port)
    assert problem.startswith(f"--port {port} is taken by process {os.getpid()} (") and "choose a free port" in problem


def test_what_is_no_port_or_no_address_of_this_machine_is_refused():
    assert "1 to 65535" in network.port_problem("--port", "127.0.0.1", 70000)
    assert "no such address" in network.port_problem("--port", "203.0.113.7", 8000)


def test_only_loopback_addresses_are_loopback():
    assert all(map(network.is_loopback, ("127.0.0.1", "127.1.2.3", "::1", "localhost")))
    assert not any(map(network.is_loopback, ("0.0.0.0", "::", "example.org", "192.168.1.2")))


def test_an_ipv6_address_stands_in_brackets():
    assert network.http_url("::1", 80) == "http://[::1]:80" and network.http_url("a.org", 1) == "http://a.org:1"
