"""Where a message may go: connections to addresses that are not public are refused, at the moment they are made.

The address is checked where the connection is made, not where a name is resolved: so it is the same one, whatever a
name resolves to the next time, and every redirect is checked as well. Only for a process of its own (`deliver`).
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotAllowed(OSError):
    """The address is none that messages may go to."""


def not_public(address: str) -> bool:
    """Is it this machine, a private network, a cloud's metadata service, or anything else that is not the internet?"""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return not_public(str(inner))
    return not ip.is_global or ip.is_multicast


@contextmanager
def guarded(
    forbidden: Callable[[str], bool] = not_public, told: Callable[[str], object] = lambda _why: None
) -> Iterator[None]:
    """While this lasts, every socket of this process connects to permitted addresses only; else NotAllowed.

    `told`: of each that is refused, because a library may keep the error to itself.
    """
    changed = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex", "sendto")}

    def refuse(why: str) -> NotAllowed:
        told(why)
        return NotAllowed(why)

    def checked(self: socket.socket, address: Any) -> Any:
        if self.family not in (socket.AF_INET, socket.AF_INET6):
            raise refuse("it would go to this machine")
        # A name is resolved here, and what is connected to is the address that was checked.
        found = socket.getaddrinfo(address[0], address[1], self.family, self.type)[0][4]
        if forbidden(str(found[0])):
            raise refuse(f"it would go to {found[0]}, which is not a public address")
        return found

    def connect(self: socket.socket, address: Any) -> Any:
        return changed["connect"](self, checked(self, address))

    def connect_ex(self: socket.socket, address: Any) -> Any:
        return changed["connect_ex"](self, checked(self, address))

    def sendto(self: socket.socket, data: Any, *rest: Any) -> Any:
        return changed["sendto"](self, data, *rest[:-1], checked(self, rest[-1]))

    for name, patched in (("connect", connect), ("connect_ex", connect_ex), ("sendto", sendto)):
        setattr(socket.socket, name, patched)
    try:
        yield
    finally:
        for name, original in changed.items():
            setattr(socket.socket, name, original)
