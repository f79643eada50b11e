"""The audit log's key: made, kept outside the database, used to sign heads and to check signatures."""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trueup.core.audit_settings import SECRET
from trueup.core.note import Head, Verifier, note_of, read_secret, secret_text
from trueup.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key that signs heads of one log."""

    name: str
    _seed: bytes

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    @property
    def verifier(self) -> Verifier:
        return Verifier(
            name=self.name,
            public=_ed25519().Ed25519PrivateKey.from_private_bytes(self._seed).public_key().public_bytes_raw(),
        )

    def note(self, head: Head) -> str:
        """The head, signed."""
        signature = _ed25519().Ed25519PrivateKey.from_private_bytes(self._seed).sign(head.text.encode())
        return note_of(head, self.verifier, signature)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read. Raises ConfigError if there is one already."""
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            raise ConfigError(f"the key cannot be written to {path}: {error.strerror}") from None
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(secret_text(self.name, self._seed, self.verifier) + "\n")


def new_key(name: str) -> SigningKey:
    return SigningKey(name, secrets.token_bytes(32))


def key_from(setting: str) -> SigningKey:
    """The key that `audit.key` names: a file, or the key's own text (from `${VARIABLE}`).

    Raises ConfigError, which never quotes the key; for a file that others can read too.
    """
    text = setting
    if not setting.startswith(SECRET):
        path = Path(setting).expanduser()
        try:
            mode = path.stat().st_mode
            text = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            raise ConfigError(
                f"trueup.audit.key: {path} cannot be read; `trueup audit key {path}` makes a key"
            ) from None
        if mode & 0o077:
            raise ConfigError(f"trueup.audit.key: others can read {path}; chmod 600 {path}")
    try:
        return SigningKey(*read_secret(text))
    except ValueError:
        raise ConfigError("trueup.audit.key: it is no signing key; `trueup audit key FILE` makes one") from None


def signed_by(verifier: Verifier, head: Head, signatures: list[bytes]) -> bool:
    """Is one of the signatures of `head` by this key?"""
    key = _ed25519().Ed25519PublicKey.from_public_bytes(verifier.public)
    return any(found[:4] == verifier.id and _holds(key, found[4:], head.text.encode()) for found in signatures)


def _holds(key: Any, signature: bytes, text: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise ConfigError("trueup.audit.key: signing needs a library; pip install 'trueup[audit]'") from None
    return ed25519
