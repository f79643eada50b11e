"""The audit log for those who read it: heads are made, signed and exported; the log is checked, given out and cut.

What is written, and when, is `store.audit`'s. What all of it shows, and what it does not, is said in docs/audit.md.
"""

from __future__ import annotations

import csv
import fcntl
import importlib.util
import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from trueup.clock import Clock
from trueup.core.audit_settings import FILE, AuditSettings
from trueup.core.merkle import Tree, leaf_hash, resumed
from trueup.core.note import Head, last_in, note_of, notes_in, read_verifier
from trueup.core.row import Key
from trueup.errors import ConfigError, DesignProblem, LedgerFailed, NotThere, Refused, TrueupError, UsageError
from trueup.observe import Progress
from trueup.replacing import replacing
from trueup.signing import SigningKey, key_from, new_key, signed_by
from trueup.store.audit_check import Found, check_records
from trueup.store.erase import erase
from trueup.store.ledger import Ledger
from trueup.store.salts import salts_of
from trueup.store.sequence import HeadRow, LogStanding, Sequencer
from trueup.who import Actor

#: Columns of an export as CSV; `line` is what is hashed.
CSV_COLUMNS = ("seq", "at", "act", "actor", "projection", "run", "unit", "reason", "line")
#: Bytes of the end of a file of heads in which the last one is.
TAIL = 4096
#: A spreadsheet takes a text that begins like this for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True, slots=True)
class Checked:
    """What a check of the log found."""

    origin: str
    #: Lines that were hashed, from `first` on.
    lines: int
    first: int
    #: Heads that the log agrees with, and of these, how many with a signature that was checked.
    heads: int
    signed: int
    #: Lines that are not in the tree yet.
    staged: int
    #: What is wrong; empty: nothing.
    problems: list[str]


class Auditing:
    """The audit log of one ledger."""

    def __init__(self, ledger: Ledger, settings: AuditSettings, clock: Clock) -> None:
        self.ledger = ledger
        self.settings = settings
        self.clock = clock
        self.sequencer = Sequencer(ledger)

    @cached_property
    def key(self) -> SigningKey | None:
        """What heads are signed with. Raises ConfigError for a key of another log."""
        if self.settings.key is None:
            return None
        key = key_from(self.settings.key.get_secret_value())
        origin = self.standing().origin
        if key.name != origin:
            raise ConfigError(f"trueup.audit.key: it is the key of {key.name!r}; this log is called {origin!r}")
        return key

    def standing(self) -> LogStanding:
        """How the log stands. Raises ConfigError if it is called otherwise than declared."""
        found = self.sequencer.standing()
        if self.settings.origin not in ("", found.origin):
            raise ConfigError(
                f"trueup.audit.origin: this ledger's log is called {found.origin!r}, and a log is never renamed"
            )
        return found

    # --- heads -----------------------------------------------------------------------------------------------------

    def seal(self) -> HeadRow | None:
        """Number what is staged, make a head of it, and export the heads that are not exported yet.

        None if nothing was new. Raises DesignProblem if the log is not what an earlier head says.
        """
        self.sequencer.number()
        for path in self._files():
            self._exported(path)  # what was exported is in this log: only then is anything signed that follows
        note = note_of if self.key is None else self.key.note
        made = self.sequencer.head(note, self.clock.now())
        for path in self._files():
            self._append(path)
        if made is not None and "stderr" in self.settings.heads:
            print(made.note, file=sys.stderr)
        return made

    def _files(self) -> list[Path]:
        return [Path(head[len(FILE) :]).expanduser() for head in self.settings.heads if head.startswith(FILE)]

    def _exported(self, path: Path) -> int:
        """Size of the last head in a file. Raises DesignProblem if this log has no such head."""
        told = last_head(path)
        if told is None:
            return 0
        mine = self.sequencer.head_of(told.size)
        if not (self.sequencer.pruned(told) if mine is None else mine.head == told):
            raise DesignProblem(
                f"{path} ends with a head of {told.size} lines of {told.origin} that is not this log's: the log was "
                f"rewritten or taken back, or the file is another log's. Keep both; `trueup audit verify` says more"
            )
        return told.size

    def _append(self, path: Path) -> None:
        try:
            with path.open("a", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                for row in self.sequencer.heads(self._exported(path)):
                    file.write(row.note + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ConfigError(f"trueup.audit.heads: {path} cannot be written: {error.strerror}") from None

    def new_key(self, path: Path) -> str:
        """A key for this log in a new file; what others verify its heads by. Raises ConfigError."""
        key = new_key(self.standing().origin)
        key.save(path)
        return str(key.verifier)

    # --- checking --------------------------------------------------------------------------------------------------

    def verify(self, *, heads: Path | None = None, export: Path | None = None, verifier: str = "") -> Checked:
        """Is the log what all its heads say, and does it tell of each record of the ledger exactly once?

        `heads`: a file of heads to hold it against, besides those that are configured; `export`: check this file
        instead of the ledger's log; `verifier`: whose signature each head has to have.
        """
        standing = self.standing()
        problems: list[str] = []
        kept = [(row.head, next(notes_in(row.note))[1]) for row in self.sequencer.heads()] if export is None else []
        for path in [*([heads] if heads else []), *(path for path in self._files() if path.exists())]:
            kept += [(head, signatures) for head, signatures in heads_in(path) if head.size >= standing.first]
        roots: dict[int, set[bytes]] = {}
        for head, _ in kept:
            roots.setdefault(head.size, set()).add(head.root)
            if head.origin != standing.origin:
                problems.append(f"head {head.size} is one of {head.origin}, not of {standing.origin}")
        signed = self._signatures(kept, verifier, problems)
        found = Found()
        tree, first = self._start(standing, export, problems)
        agree = int(first > 0 and roots.get(first) == {tree.root()})
        for seq, line in self.sequencer.lines(first) if export is None else _lines_in(export, problems):
            if seq != tree.size:
                problems.append(f"line {tree.size} is gone: after it comes {seq}")
                break
            tree.append(leaf_hash(line))
            found.see(line)
            if tree.size in roots:
                if roots[tree.size] == {tree.root()}:
                    agree += 1
                else:
                    problems.append(f"the first {tree.size} lines are not those that the head of {tree.size} says")
        problems += [
            f"there is a head of {size} lines; the log ends at {tree.size}" for size in roots if size > tree.size
        ]
        if tree.size > max(roots, default=0):
            problems.append(
                f"no head vouches for what is after {max(roots, default=0)}; `trueup audit sequence` makes one"
            )
        if export is None:
            problems += check_records(self.ledger, found)
        return Checked(
            origin=standing.origin,
            lines=tree.size - first,
            first=first,
            heads=agree,
            signed=signed,
            staged=standing.staged,
            problems=problems,
        )

    def _start(self, standing: LogStanding, export: Path | None, problems: list[str]) -> tuple[Tree, int]:
        """The tree of what is before the first line."""
        if export is not None:
            with export.open("rb") as file:
                line = file.readline()
            if not line.startswith(b'{"frontier":'):
                return Tree(), 0
            told = json.loads(line)
            return resumed(told["size"], [bytes.fromhex(text) for text in told["frontier"]]), told["size"]
        if standing.first == 0:
            return Tree(), 0
        cut = self.sequencer.head_of(standing.first)
        if cut is not None:
            return cut.tree(), standing.first
        problems.append(f"the head of {standing.first} lines, at which the log was cut, is gone")
        return Tree(), standing.first

    def _signatures(self, kept: list[tuple[Head, list[bytes]]], verifier: str, problems: list[str]) -> int:
        """How many heads are signed by the key that is known; those that are not are problems."""
        try:
            by = read_verifier(verifier) if verifier else None if self.key is None else self.key.verifier
        except ValueError as error:
            raise UsageError(f"--verifier: {error}; `trueup audit key` prints it") from None
        if by is None:
            return 0
        good = {head for head, signatures in kept if signed_by(by, head, signatures)}
        for head, signatures in kept:
            if head not in good and (signatures or verifier):
                problems.append(f"head {head.size} is not signed by the key of {by.name}")
        return len(good)

    # --- giving out ------------------------------------------------------------------------------------------------

    def export(self, path: Path, *, form: str = "jsonl", since: datetime | None = None, projection: str = "") -> int:
        """Write the log to a file, up to a head that is made now; how many lines.

        `since`: from the newest head on that was made no later; `projection`: only its lines, which heads cannot vouch
        for by themselves.
        """
        self.seal()
        first, size, frontier = self._part(since)
        count = 0
        with replacing(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            if form == "csv":
                rows.writerow(CSV_COLUMNS)
            elif first and not projection:
                file.write(json.dumps({"frontier": frontier, "size": first}, separators=(",", ":")) + "\n")
            for _, line in self.sequencer.lines(first, size):
                told = json.loads(line) if form == "csv" or projection else {}
                if projection and told.get("projection") != projection:
                    continue
                count += 1
                if form == "csv":
                    rows.writerow(csv_row(told, line))
                else:
                    file.write(line.decode() + "\n")
            file.flush()
            if partial.is_file():
                os.fsync(file.fileno())
        return count

    def _part(self, since: datetime | None) -> tuple[int, int, list[str]]:
        """Where an export begins and ends, and the frontier of its beginning."""
        with self.ledger.reading() as c:
            last = self.sequencer.last(c)
            begin = None if since is None else self.sequencer.last(c, since)
        first = self.standing().first
        if begin is None and first:
            begin = self.sequencer.head_of(first)
        frontier = [] if begin is None else [node.hex() for node in begin.frontier]
        return 0 if begin is None else begin.head.size, 0 if last is None else last.head.size, frontier

    def salts(self, path: Path) -> int:
        """Write what opens the log's commitments of sensitive values to a file of its own; how many."""
        count = 0
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            for salt in salts_of(self.ledger):
                count += 1
                file.write(json.dumps(salt, separators=(",", ":")) + "\n")
        return count

    def lines(self, *, limit: int = 20, projection: str = "", among: int = 0) -> list[dict[str, Any]]:
        """The newest lines, newest first, without those that are not numbered yet.

        `among`: only so many of the newest are looked at; 0: all.
        """
        found: list[dict[str, Any]] = []
        end = self.standing().size
        last = max(0, end - among) if among else 0
        while end > last and (not limit or len(found) < limit):
            begin = max(last, end - 1_000)
            some = [json.loads(line) for _, line in self.sequencer.lines(begin, end)]
            found += [told for told in reversed(some) if not projection or told.get("projection") == projection]
            end = begin
        return found[:limit] if limit else found

    def line(self, seq: int) -> bytes:
        """One line as it is hashed. Raises UsageError if there is none."""
        for _, line in self.sequencer.lines(seq, seq + 1):
            return line
        raise NotThere(f"the audit log has no line {seq}; `trueup audit list` shows the newest")

    # --- erasing and retention -------------------------------------------------------------------------------------

    def erase(self, projection: str, keys: list[Key]) -> int:
        """Take the sensitive values of rows out of all records; the log stays, and cannot be opened there any more."""
        return erase(self.ledger, projection, keys)

    def prune(self, before: datetime) -> tuple[int, Head]:
        """Drop the lines before the newest head that was made no later than `before`; how many, and that head.

        Raises UsageError if there is none.
        """
        self.seal()
        first = self.standing().first
        with self.ledger.begin() as c:
            cut = self.sequencer.last(c, before)
            if cut is None or cut.head.size <= first:
                raise UsageError(f"the audit log has no head from before {before:%Y-%m-%d %H:%M} UTC to cut it at")
            cut.tree()
            facts = {"first": str(cut.head.size), "root": cut.head.root.hex()}
            self.ledger.audit.stage(c, "audit.pruned", facts)
        return self.sequencer.prune(cut), cut.head


@contextmanager
def answerable(auditing: Auditing, progress: Progress, command: str, name: str, by: Actor | None) -> Iterator[None]:
    """Around what somebody asks for: the log tells of a refusal, and gets a head at the end.

    A log that cannot be sealed is told, and hides no answer: its lines are durable, and wait for the next head.
    """
    try:
        yield
    except Refused as refused:
        with suppress(LedgerFailed), auditing.ledger.begin() as c:
            facts = {"command": command, "reason": str(refused)}
            auditing.ledger.audit.stage(c, "command.refused", facts, projection=name, actor=by)
        raise
    finally:
        try:
            auditing.seal()
        except (TrueupError, OSError) as error:
            progress.unsealed(str(error))


def moment(text: str) -> datetime | None:
    """A moment as a person types it. Raises UsageError."""
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no moment; write 2026-03-01, or 2026-03-01T12:30:00Z") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def heads_in(path: Path) -> list[tuple[Head, list[bytes]]]:
    """The heads of a file. Raises UsageError if it cannot be read."""
    try:
        return list(notes_in(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no file of heads: {error}") from None


def last_head(path: Path) -> Head | None:
    """The last head of a file; None if there is none yet. Raises UsageError if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            return last_in(file.read().decode("utf-8", "replace"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} is no file of heads: {error}") from None


def _lines_in(export: Path, problems: list[str]) -> Iterator[tuple[int, bytes]]:
    with export.open("rb") as file:
        for line in file:
            if line.startswith(b'{"frontier":'):
                continue
            if not line.endswith(b"\n"):
                problems.append("the last line is not whole")
            head = line[:40].partition(b",")[0].removeprefix(b'{"seq":')
            yield int(head) if head.isdigit() else -1, line[:-1]


def csv_row(told: dict[str, Any], line: bytes) -> list[str]:
    """A line as one row; nothing in it is a formula to a spreadsheet."""
    told = {**told, "actor": told["actor"]["name"], "line": line.decode()}
    cells = [str(told.get(name) or "") if name != "seq" else str(told["seq"]) for name in CSV_COLUMNS]
    return ["'" + cell if cell.startswith(_FORMULA) else cell for cell in cells]


def script() -> str:
    """The text of the script that verifies an export by itself."""
    found = importlib.util.find_spec("trueup.verify_audit")
    assert found is not None
    assert found.origin is not None
    with io.open_code(found.origin) as file:
        return file.read().decode()
