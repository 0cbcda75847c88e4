"""The suite. Whatever imports it can talk to this machine only.

The guard is an audit hook of the interpreter, beneath every Python library that opens a socket;
it cannot be taken off again, so that no test can forget to put it back.
"""

from __future__ import annotations

import ipaddress
import socket
import sys
from typing import Any


class OutsideWorldCalled(AssertionError):
    """A test tried to reach an address that is not on this machine."""


def _refuse_the_outside_world(event: str, args: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        connecting, address = args
        if connecting.family in {socket.AF_INET, socket.AF_INET6}:
            _refuse_unless_ours(address[0])
        # A Unix socket's other end is on this machine.
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"} and args[0]:
        _refuse_unless_ours(args[0])  # the question for the name's address would leave already


def _refuse_unless_ours(host: str | bytes) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    try:
        is_ours = name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:  # a name, not an address
        is_ours = False
    if not is_ours:
        raise OutsideWorldCalled(f"a test tried to reach {name!r}: tests use loopback only")


sys.addaudithook(_refuse_the_outside_world)
