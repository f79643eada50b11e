"""What is declared about the audit log."""

from __future__ import annotations

from pydantic import SecretStr, field_validator

from trueup.core.note import fit_for_name
from trueup.core.projection import Declared

#: How a place for heads that is a file begins.
FILE = "file:"
#: How the text of a signing key begins.
SECRET = "PRIVATE+KEY+"  # noqa: S105 - what stands before one


class AuditSettings(Declared):
    """`audit` in the `[trueup]` table."""

    #: Signs heads: a file that `trueup audit key` made, or the key itself from `${VARIABLE}`. None: heads are unsigned.
    key: SecretStr | None = None
    #: Where heads go besides the ledger: `file:PATH`, `stderr`.
    heads: tuple[str, ...] = ()
    #: What a new log is called, such as `example.org/trueup/prod`; it is never renamed. Empty: a name of its own.
    origin: str = ""

    @field_validator("heads")
    @classmethod
    def _known(cls, heads: tuple[str, ...]) -> tuple[str, ...]:
        for head in heads:
            if head != "stderr" and not (head.startswith(FILE) and len(head) > len(FILE)):
                raise ValueError(f"{head!r} is no place for heads; write 'file:PATH' or 'stderr'")
        return heads

    @field_validator("origin")
    @classmethod
    def _on_a_line(cls, origin: str) -> str:
        if origin and not fit_for_name(origin):
            raise ValueError("a name without blanks and '+', of at most 200 characters, such as example.org/trueup")
        return origin

    def seen_from(self, folder: str) -> AuditSettings:
        """With relative files seen from `folder`."""
        key = self.key
        if key is not None and not key.get_secret_value().startswith(SECRET):
            key = SecretStr(_from(folder, key.get_secret_value()))
        heads = [
            FILE + _from(folder, head.removeprefix(FILE)) if head.startswith(FILE) else head for head in self.heads
        ]
        return self.model_copy(update={"key": key, "heads": tuple(heads)})


def _from(folder: str, path: str) -> str:
    return path if path.startswith(("/", "~")) else f"{folder}/{path}"
