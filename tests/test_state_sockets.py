# SPDX-License-Identifier: Apache-2.0
"""Sockets: addresses, names, who is the client (engine.md H5)."""

import socket
import struct

import pytest

from scapwriter import fd, fds, interface, interfaces
from state_events import O_CLOEXEC, bash, execve, last, named, read

TCP, UDP = 6, 17
STREAM, DGRAM, RAW = 1, 2, 3
UNIX, INET, INET6, NETLINK = 1, 2, 10, 16
EINPROGRESS, ECONNREFUSED = 115, 111


def ip(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def addr(address: str, port: int = 0) -> bytes:
    """A SOCKADDR; of a unix socket for a path."""
    if address.startswith("/"):
        return bytes([UNIX]) + address.encode() + b"\0"
    return bytes([INET6 if ":" in address else INET]) + ip(address) + struct.pack("<H", port)


def tuple_(source: str, sport: int, destination: str, dport: int) -> bytes:
    """A SOCKTUPLE."""
    family = INET6 if ":" in source else INET
    return bytes([family]) + ip(source) + struct.pack("<H", sport) + ip(destination) + struct.pack("<H", dport)


def unix(source: int, destination: int, path: str) -> bytes:
    return struct.pack("<BQQ", UNIX, source, destination) + path.encode() + b"\0"


def sock(num: int = 3, *, domain: int = INET, type_: int = STREAM, proto: int = 0, flags: int = 0) -> bytes:
    return named("SOCKET_X", fd=num, domain=domain, type=type_, proto=proto, flags=flags)


def connect(peer: bytes | None, *, num: int = 3, res: int = 0, address: bytes | None = None) -> bytes:
    return named("CONNECT_X", res=res, tuple=peer, fd=num, addr=address)


def bind(address: bytes, *, num: int = 3, res: int = 0) -> bytes:
    return named("BIND_X", res=res, addr=address, fd=num)


def sendto(peer: bytes | None, *, num: int = 3, res: int = 1) -> bytes:
    return named("SENDTO_X", res=res, data=b"x", fd=num, size=1, tuple=peer)


def recvfrom(peer: bytes | None, *, num: int = 3) -> bytes:
    return named("RECVFROM_X", res=1, data=b"x", tuple=peer, fd=num, size=1)


HERE, THERE = ("10.0.0.5", 40000), ("93.184.216.34", 443)
TUPLE = tuple_(*HERE, *THERE)
NAME = "10.0.0.5:40000->93.184.216.34:443"


class TestSocket:
    @pytest.mark.parametrize(
        ("domain", "type_", "proto", "kind", "l4"),
        [
            (INET, STREAM, 0, "ipv4", "tcp"),
            (INET, DGRAM | 0x80000, 0, "ipv4", "udp"),
            (INET6, STREAM, TCP, "ipv6", "tcp"),
            (INET, DGRAM, UDP, "ipv4", "udp"),
            (INET, RAW, 1, "ipv4", "raw"),
            (INET, RAW, 255, "ipv4", "raw"),
            (INET, DGRAM, 1, "ipv4", "icmp"),
            (INET, RAW | 0x80000, 1, "ipv4", "icmp"),  # as in Falco, a type that comes with flags isn't told to be raw
            (INET6, RAW | 0x800, UDP, "ipv6", "udp"),
        ],
    )
    def test_protocols_of_the_internet(self, domain: int, type_: int, proto: int, kind: str, l4: str) -> None:
        peer = tuple_("::1", 1, "::2", 2) if domain == INET6 else TUPLE
        events = bash() + sock(domain=domain, type_=type_, proto=proto) + connect(peer)
        assert last(events, "fd.type", "fd.l4proto") == (kind, l4)

    @pytest.mark.parametrize(("domain", "kind"), [(UNIX, "unix"), (NETLINK, "netlink")])
    def test_other_families(self, domain: int, kind: str) -> None:
        assert last(bash() + sock(domain=domain), "fd.type", "fd.name") == (kind, "")

    def test_close_on_exec(self) -> None:
        assert last(bash() + sock(flags=O_CLOEXEC) + execve("/bin/id") + read(3), "fd.type") == (None,)

    def test_pairs(self) -> None:
        pair = named("SOCKETPAIR_X", res=0, fd1=3, fd2=4, source=1, peer=2, domain=UNIX, type=STREAM, proto=0)
        assert [last(bash() + pair + read(n), "fd.type") for n in (3, 4)] == [("unix",), ("unix",)]


class TestConnect:
    def test_a_client(self) -> None:
        fields = ("fd.name", "fd.cip", "fd.cport", "fd.sip", "fd.sport", "fd.connected", "fd.name_changed")
        assert last(bash() + sock() + connect(TUPLE), *fields) == (NAME, *HERE, *THERE, True, True)

    def test_one_that_is_under_way(self) -> None:
        assert last(bash() + sock() + connect(TUPLE, res=-EINPROGRESS), "fd.name") == (NAME,)

    def test_one_that_failed(self) -> None:
        events = bash() + sock() + connect(TUPLE, res=-ECONNREFUSED) + read(3, res=-1)
        assert last(events, "fd.name", "fd.connected") == ("", False)

    def test_ipv6(self) -> None:
        events = bash() + sock(domain=INET6) + connect(tuple_("2001:db8::1", 40000, "2001:db8::2", 443))
        assert last(events, "fd.name", "fd.sip") == ("2001:db8::1:40000->2001:db8::2:443", "2001:db8::2")

    def test_an_ipv4_address_in_an_ipv6_one(self) -> None:
        events = bash() + sock(domain=INET6) + connect(tuple_("::ffff:10.0.0.5", 40000, "::ffff:93.184.216.34", 443))
        assert last(events, "fd.name", "fd.type") == (NAME, "ipv4")

    def test_unix(self) -> None:
        events = bash() + sock(domain=UNIX) + connect(unix(0xFF01, 0xFF02, "/dev/log"))
        assert last(events, "fd.name", "fd.type") == ("ff01->ff02 /dev/log", "unix")

    def test_the_address_of_the_entry_counts_where_the_tuple_repeats_the_callers_memory(self) -> None:
        enter = named("CONNECT_E", fd=3, addr=addr("6.6.6.6", 666))
        rewritten = connect(TUPLE, address=addr(*THERE))
        assert last(bash() + sock() + enter + rewritten, "fd.sip", "fd.sport") == ("6.6.6.6", 666)

    def test_so_does_the_path_of_the_entry(self) -> None:
        enter = named("CONNECT_E", fd=3, addr=addr("/run/real.sock"))
        rewritten = connect(unix(1, 2, "/run/rewritten.sock"), address=addr("/run/rewritten.sock"))
        told = connect(unix(1, 2, "/run/told.sock"), address=addr("/run/rewritten.sock"))
        assert last(bash() + sock(domain=UNIX) + enter + rewritten, "fd.name") == ("1->2 /run/real.sock",)
        assert last(bash() + sock(domain=UNIX) + enter + told, "fd.name") == ("1->2 /run/told.sock",)

    def test_but_not_where_the_kernel_told_another(self) -> None:
        enter = named("CONNECT_E", fd=3, addr=addr("6.6.6.6", 666))
        told = connect(TUPLE, address=addr("1.1.1.1", 1))
        assert last(bash() + sock() + enter + told, "fd.sip", "fd.sport") == THERE

    def test_without_a_tuple_the_entry_tells_the_destination(self) -> None:
        enter = named("CONNECT_E", fd=3, addr=addr(*THERE))
        assert last(bash() + sock() + enter + connect(None), "fd.name") == ("0.0.0.0:0->93.184.216.34:443",)


class TestServers:
    def test_bind(self) -> None:
        events = bash() + sock() + bind(addr("0.0.0.0", 80))
        assert last(events, "fd.name", "fd.sip", "fd.sport", "fd.is_server") == ("0.0.0.0:80", "0.0.0.0", 80, True)

    @pytest.mark.parametrize(("address", "server"), [("::", "0.0.0.0"), ("::ffff:10.0.0.5", "10.0.0.5")])
    def test_one_of_both_versions_is_an_ipv4_server_whose_name_is_as_given(self, address: str, server: str) -> None:
        events = bash() + sock(domain=INET6) + bind(addr(address, 80))
        assert last(events, "fd.name", "fd.type", "fd.sip", "fd.sport") == (f"{address}:80", "ipv4", server, 80)

    def test_bind_to_a_port_that_the_kernel_chooses(self) -> None:
        assert last(bash() + sock() + bind(addr("127.0.0.1", 0)), "fd.name", "fd.is_server") == ("127.0.0.1:0", False)

    def test_bind_to_a_path(self) -> None:
        assert last(bash() + sock(domain=UNIX) + bind(addr("/run/x.sock")), "fd.name") == ("/run/x.sock",)

    def test_a_failed_bind(self) -> None:
        assert last(bash() + sock() + bind(addr("0.0.0.0", 80), res=-98) + read(3), "fd.name") == ("",)

    @pytest.mark.parametrize("code", ["ACCEPT_5_X", "ACCEPT4_6_X"])
    def test_accept_makes_a_connection_of_a_server(self, code: str) -> None:
        accept = named(code, fd=4, tuple=tuple_("1.2.3.4", 5000, "10.0.0.5", 80))
        fields = ("fd.num", "fd.name", "fd.l4proto", "fd.cip", "fd.sip", "fd.connected")
        assert last(bash() + accept, *fields) == (4, "1.2.3.4:5000->10.0.0.5:80", "tcp", "1.2.3.4", "10.0.0.5", True)

    def test_accept_of_a_unix_socket(self) -> None:
        assert last(bash() + named("ACCEPT_5_X", fd=4, tuple=unix(1, 2, "/run/x")), "fd.name") == ("1->2 /run/x",)


class TestDatagrams:
    def test_the_first_one_names_the_socket(self) -> None:
        events = bash() + sock(type_=DGRAM) + sendto(tuple_("10.0.0.5", 5000, "8.8.8.8", 53))
        assert last(events, "fd.name", "fd.sip", "fd.sport", "fd.connected") == ("10.0.0.5:5000->8.8.8.8:53", "8.8.8.8", 53, True)

    def test_another_peer_renames_it(self) -> None:
        events = bash() + sock(type_=DGRAM) + sendto(tuple_("10.0.0.5", 5000, "8.8.8.8", 53))
        events += sendto(tuple_("10.0.0.5", 5000, "9.9.9.9", 53))
        assert last(events, "fd.name", "fd.name_changed") == ("10.0.0.5:5000->9.9.9.9:53", True)

    def test_a_server_is_named_after_each_of_its_clients(self) -> None:
        events = bash() + sock(type_=DGRAM) + bind(addr("0.0.0.0", 53)) + recvfrom(tuple_("1.2.3.4", 5000, "10.0.0.5", 53))
        events += recvfrom(tuple_("5.6.7.8", 6000, "10.0.0.5", 53))
        assert last(events, "fd.name", "fd.cip", "fd.sport") == ("5.6.7.8:6000->10.0.0.5:53", "5.6.7.8", 53)

    def test_the_answer_is_the_same_connection(self) -> None:
        events = bash() + sock(type_=DGRAM) + sendto(tuple_("10.0.0.5", 5000, "8.8.8.8", 53))
        events += recvfrom(tuple_("8.8.8.8", 53, "10.0.0.5", 5000))
        assert last(events, "fd.name", "fd.name_changed") == ("10.0.0.5:5000->8.8.8.8:53", False)

    def test_a_bound_socket_that_receives_is_the_server(self) -> None:
        events = bash() + sock(type_=DGRAM) + bind(addr("0.0.0.0", 53)) + recvfrom(tuple_("1.2.3.4", 5000, "10.0.0.5", 53))
        fields = ("fd.name", "fd.type", "fd.l4proto", "fd.sport")
        assert last(events, *fields) == ("1.2.3.4:5000->10.0.0.5:53", "ipv4", "udp", 53)

    def test_a_connected_stream_keeps_its_name(self) -> None:
        events = bash() + sock() + connect(TUPLE) + sendto(tuple_("1.1.1.1", 1, "2.2.2.2", 2))
        assert last(events, "fd.name") == (NAME,)

    def test_a_socket_that_was_there_before_the_capture(self) -> None:
        assert last(bash() + sendto(tuple_("10.0.0.5", 5000, "8.8.8.8", 53), num=9), "fd.name", "fd.l4proto") == (
            "10.0.0.5:5000->8.8.8.8:53",
            "udp",
        )

    def test_several_messages_at_once_make_none(self) -> None:
        several = named("SENDMMSG_X", res=1, fd=9, size=1, data=b"x", tuple=tuple_("10.0.0.5", 5000, "8.8.8.8", 53))
        assert last(bash() + several, "fd.num", "fd.name", "fd.type") == (9, "", None)

    def test_a_failed_send_tells_nothing(self) -> None:
        assert last(bash() + sock(type_=DGRAM) + sendto(TUPLE, res=-1) + read(3, res=-1), "fd.name") == ("",)

    def test_an_unspecified_source_is_the_interface_of_the_peers_network(self) -> None:
        nets = interfaces(2, net_interface("172.16.0.9", "255.255.0.0"), net_interface("10.0.0.5", "255.255.255.0"))
        events = nets + bash() + sock(type_=DGRAM) + sendto(tuple_("0.0.0.0", 5000, "10.0.0.77", 53))
        assert last(events, "fd.name") == ("10.0.0.5:5000->10.0.0.77:53",)

    def test_but_not_the_very_end_that_the_packet_goes_to(self) -> None:
        nets = interfaces(2, net_interface("10.0.0.5", "255.255.255.0"))
        events = nets + bash() + sock(type_=DGRAM) + sendto(tuple_("0.0.0.0", 53, "10.0.0.5", 53))
        assert last(events, "fd.name") == ("0.0.0.0:53->10.0.0.5:53",)

    def test_with_no_peer_either_the_source_is_an_interface(self) -> None:
        nets = interfaces(2, net_interface("127.0.0.1", "255.0.0.0"), net_interface("10.0.0.5", "255.255.255.0"))
        events = nets + bash() + sock(type_=DGRAM) + sendto(tuple_("0.0.0.0", 5000, "0.0.0.0", 53))
        assert last(events, "fd.name") == ("10.0.0.5:5000->0.0.0.0:53",)

    def test_else_the_first_that_is_not_loopback(self) -> None:
        nets = interfaces(2, net_interface("127.0.0.1", "255.0.0.0"), net_interface("172.16.0.9", "255.255.0.0"))
        events = nets + bash() + sock(type_=DGRAM) + sendto(tuple_("0.0.0.0", 5000, "8.8.8.8", 53))
        assert last(events, "fd.name") == ("172.16.0.9:5000->8.8.8.8:53",)


def net_interface(address: str, netmask: str) -> bytes:
    entry = bytearray(interface(3, ip(address), "eth0"))
    entry[8:12] = ip(netmask)
    return bytes(entry)


class TestStart:
    def test_connections_to_a_port_that_someone_listens_on_are_a_servers(self) -> None:
        server = fd(2, 3, 5, ip("0.0.0.0") + struct.pack("<HB", 80, 2))
        accepted = fd(2, 4, 3, ip("10.0.0.5") + ip("1.2.3.4") + struct.pack("<HHB", 80, 5000, 2))
        client = fd(2, 5, 3, ip("10.0.0.5") + ip("8.8.8.8") + struct.pack("<HHB", 40000, 53, 3))
        events = bash() + fds(2, 100, server, accepted, client)
        assert last(events + read(4), "fd.name", "fd.cip", "fd.sport") == ("1.2.3.4:5000->10.0.0.5:80", "1.2.3.4", 80)
        assert last(events + read(5), "fd.name", "fd.cip", "fd.sport") == ("10.0.0.5:40000->8.8.8.8:53", "10.0.0.5", 53)
        assert last(events + read(3), "fd.name", "fd.is_server") == ("0.0.0.0:80", True)

    def test_who_listens_is_a_server_whose_address_is_not_taken_for_one_ends(self) -> None:
        server = fd(2, 3, 5, ip("0.0.0.0") + struct.pack("<HB", 80, 2))
        fields = ("fd.sport", "fd.l4proto", "fd.sproto", "fd.sip", "fd.cport", "evt.arg.fd")
        assert last(bash() + fds(2, 100, server) + read(3), *fields) == (80, "tcp", "", None, None, "<4t>0.0.0.0:80")

    @pytest.mark.parametrize(("l4", "connected"), [(2, True), (3, False)])
    def test_a_tcp_connection_is_connected(self, l4: int, connected: bool) -> None:
        client = fd(2, 5, 3, ip("10.0.0.5") + ip("8.8.8.8") + struct.pack("<HHB", 40000, 53, l4))
        assert last(bash() + fds(2, 100, client) + named("FSTAT_X", res=0, fd=5), "fd.connected") == (connected,)
