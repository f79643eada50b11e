"""What is declared about the HTTP API."""

from __future__ import annotations

import ipaddress
from typing import Self

from pydantic import Field, field_validator

from trueup.core.declared import Declared, Duration

#: Names of this machine for itself.
LOCAL = ("localhost", "127.0.0.1", "::1")


class ApiSettings(Declared):
    """`api` in the `[trueup]` table."""

    #: Address and port that requests are taken at, `127.0.0.1:8765` or `[::1]:8765`. Port 0: any that is free.
    listen: str = "127.0.0.1:8765"
    #: Names, besides `listen`, by which clients may call this server (the `Host` of a request); `*`: any.
    hosts: tuple[str, ...] = ()
    #: Requests that are worked on at a time; each has connections of its own.
    workers: int = Field(default=4, ge=1, le=64)
    #: A request that takes longer than this is ended at the next border; what it did is in the record.
    longest: Duration = Field(default=30.0, ge=1, le=600)
    #: Largest body of a request, bytes.
    body: int = Field(default=1_000_000, ge=1_000, le=100_000_000)

    @field_validator("listen")
    @classmethod
    def _address(cls, listen: str) -> str:
        host, port = address_of(listen)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def listening(self, listen: str) -> Self:
        """The same at another address. Raises ValueError."""
        host, port = address_of(listen)
        return self.model_copy(update={"listen": f"[{host}]:{port}" if ":" in host else f"{host}:{port}"})

    @property
    def address(self) -> tuple[str, int]:
        return address_of(self.listen)

    @property
    def local(self) -> bool:
        """Is it this machine alone that can send requests?"""
        return ipaddress.ip_address(self.address[0]).is_loopback

    @property
    def called(self) -> frozenset[str]:
        """Names by which the server may be called; `*` is any."""
        mine = LOCAL if self.local else (self.address[0],)
        return frozenset(name.lower() for name in (*mine, *self.hosts))


def address_of(listen: str) -> tuple[str, int]:
    """IP address and port. A name is refused: what it means is decided elsewhere. Raises ValueError."""
    host, colon, port = listen.rpartition(":")
    try:
        if not colon or not 0 <= int(port) <= 65_535 or not port.isascii():
            raise ValueError
        return str(ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))), int(port)
    except ValueError:
        raise ValueError(f"{listen!r} is no address; write an IP address and a port, '127.0.0.1:8765'") from None


def host_of(header: str) -> str:
    """The name in a `Host` header, without its port, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()
