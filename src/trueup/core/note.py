"""Heads of the audit log as text: C2SP tlog-checkpoint, signed as C2SP signed-note says (c2sp.org).

    origin
    size
    root in base64

    — origin signature in base64

Others know how to read, check and countersign that. A head without a key has no signature line.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

#: How the signed-note format marks an Ed25519 key.
ED25519 = b"\x01"
_DASH = "\u2014 "


@dataclass(frozen=True, kw_only=True, slots=True)
class Head:
    """What a log was at a size."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verifier:
    """A public key, and the name of the log that signs with it."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """Four bytes that tell which key a signature is by."""
        return hashlib.sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(ED25519 + self.public).decode()}"


def read_verifier(text: str) -> Verifier:
    """The inverse of `str(verifier)`; ValueError if it is none."""
    name, _, rest = text.strip().partition("+")
    told, _, raw = rest.partition("+")
    verifier = Verifier(name=name, public=_key(raw))
    if verifier.id.hex() != told:
        raise ValueError("not the key that its own checksum is of")
    return verifier


def _key(text: str) -> bytes:
    raw = base64.b64decode(text, validate=True)
    if raw[:1] != ED25519 or len(raw) != 33:
        raise ValueError("not an Ed25519 key in the signed-note format")
    return raw[1:]


def secret_text(name: str, seed: bytes, verifier: Verifier) -> str:
    """A signing key as the signed-note format writes it."""
    return f"PRIVATE+KEY+{name}+{verifier.id.hex()}+{base64.b64encode(ED25519 + seed).decode()}"


def read_secret(text: str) -> tuple[str, bytes]:
    """Name and seed of a signing key; ValueError if it is none."""
    parts = text.strip().split("+", 4)
    if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"] or not parts[2]:
        raise ValueError("not a signing key in the signed-note format (PRIVATE+KEY+name+...)")
    return parts[2], _key(parts[4])


def fit_for_name(name: str) -> bool:
    """May a log be called this? Its name stands on a line, and in keys."""
    return bool(name) and name.isprintable() and not any(letter in " +" for letter in name) and len(name) <= 200


def note_of(head: Head, verifier: Verifier | None = None, signature: bytes = b"") -> str:
    """A head as it is exported."""
    if verifier is None:
        return f"{head.text}\n"
    return f"{head.text}\n{_DASH}{verifier.name} {base64.b64encode(verifier.id + signature).decode()}\n"


def notes_in(text: str) -> Iterator[tuple[Head, list[bytes]]]:
    """Heads in a file, one after the other, and each one's signatures with their key's four bytes.

    Raises ValueError where the text is not whole.
    """
    rows = [row for row in text.split("\n") if row]
    while rows:
        head, rows = _head(rows[:3]), rows[3:]
        signatures = []
        while rows and rows[0].startswith(_DASH):
            signatures.append(base64.b64decode(rows.pop(0).rpartition(" ")[2], validate=True))
        yield head, signatures


def last_in(text: str) -> Head | None:
    """The last head in the end of a file; None if it is empty. Raises ValueError where it is not whole."""
    rows = [row for row in text.split("\n") if row]
    while rows and rows[-1].startswith(_DASH):
        rows.pop()
    return _head(rows[-3:]) if rows else None


def _head(rows: list[str]) -> Head:
    if len(rows) != 3 or not rows[1].isdecimal():
        raise ValueError(f"a head is three lines: name, size, root; not {rows}")
    try:
        root = base64.b64decode(rows[2], validate=True)
    except binascii.Error as error:
        raise ValueError(f"the root of head {rows[1]} is not base64: {error}") from None
    return Head(origin=rows[0], size=int(rows[1]), root=root)
