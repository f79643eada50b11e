"""Digests and row hashes asked ahead: what is begun when, how many at a time, and what becomes of errors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.live.harness import until
from trueup.ahead import AHEAD, Ahead, Following, Question
from trueup.core.digest import Digest, Digests, Prints
from trueup.core.plan import NullKeys, Range, ranges
from trueup.errors import DesignProblem, StatementTimeout, Transient

SEGMENTS = ranges([(n,) for n in range(1, 20)])
WANTING = "test-wanting"
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def digests_of(side: str, at: int) -> Digests:
    return {0: Digest(rows=at, content=f"{side} {at}")}


def prints_of(side: str, at: int) -> Prints:
    return Prints(width=1, packed=f"{side} {at}".encode())


@dataclass
class Database:
    """One that answers when it is told to, and notes what goes on."""

    name: str
    allowed: int = 2
    #: Answers at once.
    free: bool = False
    fails: frozenset[int] = frozenset()
    #: Segments in which there is no row.
    empty: frozenset[int] = frozenset()
    #: Segments that were begun, and those that go on, in order; those whose rows were asked for.
    begun: list[int] = field(default_factory=list)
    now: list[int] = field(default_factory=list)
    printed: list[int] = field(default_factory=list)
    #: Most that went on at a time, a closer look included.
    most: int = 0
    closer: int = 0
    changed: threading.Condition = field(default_factory=threading.Condition)
    told: set[int] = field(default_factory=set)
    following: Following[Digests] | None = None

    def ask(self, segment: Range) -> Digests:
        at = self._asked(SEGMENTS.index(segment))
        return {} if at in self.empty else digests_of(self.name, at)

    def ask_rows(self, segment: Range) -> Prints:
        at = SEGMENTS.index(segment)
        self.printed.append(at)
        return prints_of(self.name, self._asked(at))

    def _asked(self, at: int) -> int:
        with self.changed:
            self.begun.append(at)
            self.now.append(at)
            self.most = max(self.most, len(self.now) + self.closer)
            assert self.changed.wait_for(lambda: self.free or at in self.told, 60)
        with self.changed:
            self.now.remove(at)
        if at in self.fails:
            raise DesignProblem(f"{self.name} {at}")
        return at

    def answer(self, at: int) -> None:
        with self.changed:
            self.told.add(at)
            self.changed.notify_all()

    def answer_all(self) -> None:
        with self.changed:
            self.free = True
            self.changed.notify_all()

    @contextmanager
    def looking(self) -> Iterator[None]:
        """A statement of a closer look."""
        with self.changed:
            self.closer += 1
            self.most = max(self.most, len(self.now) + self.closer)
        yield
        with self.changed:
            self.closer -= 1

    @property
    def digests(self) -> Callable[[Range], Digests]:
        return self.following or self.ask


def ahead_of(
    source: Database,
    target: Database,
    *,
    allowed: Callable[[], int] | None = None,
    now: Callable[[], datetime] = lambda: BEGIN,
    learn: bool = False,
) -> Ahead:
    """`allowed`: of the source, in place of its own."""
    digests = Question(source.digests, target.digests)
    rows = Question(source.ask_rows, target.ask_rows, 1)
    limits = (allowed or (lambda: source.allowed), lambda: target.allowed)
    return Ahead(SEGMENTS, digests, rows, limits, now, learn=learn)


@contextmanager
def going(source: Database, target: Database) -> Iterator[Ahead]:
    ticks = iter(range(1000))
    with closing(ahead_of(source, target, now=lambda: BEGIN + timedelta(seconds=next(ticks)))) as ahead:
        try:
            yield ahead
        finally:
            source.answer_all()
            target.answer_all()
            for thread in threading.enumerate():
                if thread.name == WANTING:
                    thread.join(60)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("trueup-ahead")]


def want(ahead: Ahead, at: int) -> None:
    """Wait for a segment, in a thread that ends when all was answered."""
    threading.Thread(target=ahead.digests, args=(SEGMENTS[at],), name=WANTING).start()


def answers(at: int) -> tuple[Digests, Digests]:
    return digests_of("source", at), digests_of("target", at)


@pytest.fixture
def source() -> Database:
    return Database("source")


@pytest.fixture
def target() -> Database:
    return Database("target")


def test_a_side_that_is_behind_gets_a_second_connection_until_it_has_caught_up(
    source: Database, target: Database
) -> None:
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: (source.now, target.now) == ([0], [0]))
        source.answer(0)
        until(lambda: source.now == [1])
        assert target.now == [0], "it is one behind, as it may be by chance"
        source.answer(1)
        until(lambda: target.now == [0, 1])
        assert source.now == [2], "the other has one connection as before"
        target.answer(1)
        until(lambda: 1 not in target.now)
        target.answer(0)
        until(lambda: target.now == [2])
        assert source.now == [2], "both are even: one connection each"
        target.answer(2)
        until(lambda: target.now == [3])


def test_neither_goes_further_than_so_many_segments(source: Database, target: Database) -> None:
    source.free = True
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: source.begun == list(range(AHEAD + 1)))
        until(lambda: target.now == [0, 1])
        target.answer(1)
        until(lambda: target.now == [0, 2])
        target.answer(0)
        until(lambda: target.now == [2, 3])
        assert max(source.begun) == AHEAD, "nobody has come further yet"


@pytest.mark.parametrize("allowed", [1, 2, 3, 4])
def test_no_more_at_a_time_than_allowed(source: Database, target: Database, allowed: int) -> None:
    source.free, target.allowed = True, allowed
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: len(source.begun) == AHEAD + 1 and len(target.now) == allowed)
        assert target.begun == list(range(allowed))
    assert target.most == allowed


def test_what_is_allowed_may_change_at_any_time(source: Database, target: Database) -> None:
    source.free = True
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: target.now == [0, 1])
        target.allowed = 1
        target.answer(1)
        until(lambda: target.now == [0])
        target.answer(0)
        until(lambda: target.now == [2])


def test_a_closer_look_counts(source: Database, target: Database) -> None:
    source.free = target.free = True
    with going(source, target) as ahead:
        ahead.digests(SEGMENTS[0])
        until(lambda: all(len(side.begun) == AHEAD + 1 and not side.now for side in (source, target)))
        source.free = target.free = False
        want(ahead, AHEAD + 1)
        until(lambda: source.now == target.now == [AHEAD + 1])
        source.answer(AHEAD + 1)
        target.answer(AHEAD + 1)
        target.answer(AHEAD + 2)
        until(lambda: target.now == [AHEAD + 3])
        source.allowed = target.allowed = 1
        begun = [*source.begun], [*target.begun]
        looked = threading.Event()

        def look() -> None:
            with ahead.closer(), source.looking(), target.looking():
                looked.set()
                assert not source.now
                assert not target.now

        thread = threading.Thread(target=look)
        thread.start()
        for side in (source, target):
            for at in [*side.now]:
                side.answer(at)
        assert looked.wait(60)
        thread.join(60)
        assert (source.begun[: len(begun[0])], target.begun[: len(begun[1])]) == begun
        until(lambda: bool(source.now and target.now), what="digests go on after it")


@pytest.mark.parametrize("counted", [True, False], ids=["counted", "control"])
def test_a_closer_look_waits_while_as_much_goes_on_as_is_allowed(
    source: Database, target: Database, counted: bool
) -> None:
    """The control looks without asking."""
    source.free = True
    looked, looking = threading.Event(), threading.Event()
    with going(source, target) as ahead:

        def look() -> None:
            with ahead.closer() if counted else nullcontext(), source.looking(), target.looking():
                looked.set()
                assert looking.wait(60)

        want(ahead, 0)
        until(lambda: target.now == [0, 1])
        target.answer(0)
        until(lambda: target.now == [1, 2])
        thread = threading.Thread(target=look)
        thread.start()
        if counted:
            until(lambda: ahead._closer)
            assert not looked.is_set()
            target.answer(1)
        assert looked.wait(60)
        target.answer(1)
        until(lambda: 1 not in target.now)
        looking.set()
        thread.join(60)
        source.answer_all()
        target.answer_all()
        for at in range(1, len(SEGMENTS)):
            assert ahead.digests(SEGMENTS[at]) == answers(at)
            if at % 3 == 0:
                with ahead.closer() if counted else nullcontext(), source.looking(), target.looking():
                    pass
    assert sorted(source.begun) == sorted(target.begun) == list(range(len(SEGMENTS))), "each was asked once"
    assert (target.most > 2) is not counted


def test_an_interrupt_while_statements_are_waited_for_leaves_none_open(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rested: list[Question[Any]] = []
    ahead = ahead_of(source, target)

    def rest(question: Question[Any]) -> None:
        rested.append(question)

    def interrupted(*, wait: bool) -> None:
        assert wait
        raise KeyboardInterrupt

    monkeypatch.setattr(Question, "rest", rest)
    monkeypatch.setattr(ahead._executor, "shutdown", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ahead.close()
    assert rested == [ahead._digests, ahead._prints]


def test_answers_are_those_of_their_segments_and_errors_come_in_their_turn() -> None:
    source = Database("source", free=True, fails=frozenset({5}))
    target = Database("target", free=True, fails=frozenset({2, 5}))
    with going(source, target) as ahead:
        for at, segment in enumerate(SEGMENTS):
            if at in (2, 5):
                with pytest.raises(DesignProblem, match="target 2" if at == 2 else "source 5"):
                    ahead.digests(segment)
            else:
                assert ahead.digests(segment) == answers(at)
    assert source.begun == target.begun == list(range(len(SEGMENTS))), "each was asked once"


@dataclass
class Refusing:
    """Says what is allowed, or when it is, until it fails."""

    last: int
    asked: int = 0

    def __call__(self) -> int:
        self.asked += 1
        if self.asked > self.last:
            raise RuntimeError("no more")
        return 1


def refusing_threads(source: Database, target: Database, patch: pytest.MonkeyPatch) -> Ahead:
    ahead = ahead_of(source, target)
    submit, refusing = ahead._executor.submit, Refusing(2)

    def submitted(*given: Any) -> Any:
        refusing()
        return submit(*given)

    patch.setattr(ahead._executor, "submit", submitted)
    return ahead


def refusing_clock(source: Database, target: Database, patch: pytest.MonkeyPatch) -> Ahead:
    refusing = Refusing(2)
    return ahead_of(source, target, now=lambda: BEGIN + timedelta(seconds=refusing()))


def refusing_connections(source: Database, target: Database, patch: pytest.MonkeyPatch) -> Ahead:
    return ahead_of(source, target, allowed=Refusing(2))


@pytest.mark.parametrize("refusing", [refusing_threads, refusing_clock, refusing_connections])
def test_what_cannot_be_begun_is_an_error_and_not_waited_for(
    source: Database, target: Database, monkeypatch: pytest.MonkeyPatch, refusing: Callable[..., Ahead]
) -> None:
    """The end of one statement begins the next: nobody hears of what is raised there. It came as a wait for ever."""
    source.free = target.free = True
    heard: list[BaseException] = []

    def wanting(ahead: Ahead) -> None:
        try:
            for segment in SEGMENTS[:3]:
                ahead.digests(segment)
        except RuntimeError as error:
            heard.append(error)

    with closing(refusing(source, target, monkeypatch)) as ahead:
        thread = threading.Thread(target=wanting, args=(ahead,), daemon=True)
        thread.start()
        thread.join(20)
        assert [str(error) for error in heard] == ["no more"]


def test_the_rows_of_segments_are_asked_for_ahead_too(source: Database, target: Database) -> None:
    """What was begun of the other question was in vain; what goes on is waited for."""
    source.free = target.free = True
    with going(source, target) as ahead:
        ahead.digests(SEGMENTS[0])
        until(lambda: len(source.begun) == len(target.begun) == AHEAD + 1)
        for at in range(1, 9):
            assert ahead.prints(SEGMENTS[at]) == (prints_of("source", at), prints_of("target", at))
            with ahead.closer():
                pass
        until(lambda: source.printed == target.printed == list(range(1, 10)), what="one is begun before it is wanted")
        assert ahead.digests(SEGMENTS[9]) == answers(9)
        until(lambda: source.begun[-1] == target.begun[-1] == 9 + AHEAD)
    assert source.begun == target.begun == [*range(AHEAD + 1), *range(1, 10), *range(9, 10 + AHEAD)]


def test_the_first_segment_tells_what_to_ask_of_the_others(source: Database, target: Database) -> None:
    """Nothing is begun in vain where the question changes after it; the control is the test above."""
    source.free = target.free = True
    with closing(ahead_of(source, target, learn=True)) as ahead:
        ahead.digests(SEGMENTS[0])
        with ahead.closer():
            pass
        assert source.begun == target.begun == [0]
        for at in range(1, 5):
            assert ahead.prints(SEGMENTS[at]) == (prints_of("source", at), prints_of("target", at))
        until(lambda: source.printed == target.printed == list(range(1, 6)))
    assert source.begun == target.begun == list(range(6))


def test_a_segment_without_rows_tells_nothing(source: Database, target: Database) -> None:
    """Beyond the ends of all keys: the next one tells. The control is the test above."""
    source.free = target.free = True
    source.empty = target.empty = frozenset({0})
    with closing(ahead_of(source, target, learn=True)) as ahead:
        assert ahead.digests(SEGMENTS[0]) == ({}, {})
        assert ahead.digests(SEGMENTS[1]) == answers(1)
        for at in range(2, 5):
            ahead.prints(SEGMENTS[at])
        until(lambda: source.printed == target.printed == list(range(2, 6)))
    assert source.begun == target.begun == list(range(6))


def test_another_question_waits_for_what_goes_on(source: Database, target: Database) -> None:
    source.allowed = target.allowed = 1
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: source.now == target.now == [0])
        source.answer(0)
        target.answer(0)
        until(lambda: source.now == target.now == [1])
        wanted = threading.Thread(target=ahead.prints, args=(SEGMENTS[1],), name=WANTING)
        wanted.start()
        source.answer(1)
        until(lambda: source.printed[:1] == [1])
        assert target.printed == []
        target.answer(1)
        until(lambda: target.printed[:1] == [1])
        wanted.join(60)
    assert (source.most, target.most) == (1, 1)


def test_only_what_is_still_to_come_is_expected(source: Database, target: Database) -> None:
    """A segment that was cut in two because its statement took too long is asked for as two others."""
    source.free = target.free = True
    with going(source, target) as ahead:
        assert ahead.expects(SEGMENTS[0])
        assert not ahead.expects(Range(lower=(1,), upper=(3,)))
        ahead.digests(SEGMENTS[1])
        assert [ahead.expects(segment) for segment in SEGMENTS[:4]] == [False, False, True, True]
        ahead.prints(SEGMENTS[2])
        assert [ahead.expects(segment) for segment in SEGMENTS[:4]] == [False, False, False, True]
        assert ahead.digests(SEGMENTS[3]) == answers(3)


def test_when_a_segment_was_begun(source: Database, target: Database) -> None:
    source.free = target.free = True
    with going(source, target) as ahead:
        assert ahead.since(SEGMENTS[0]) is None
        ahead.digests(SEGMENTS[0])
        assert ahead.since(SEGMENTS[0]) == BEGIN
        until(lambda: len(source.begun) == len(target.begun) == AHEAD + 1)
        ahead.digests(SEGMENTS[1])
        seen = ahead.since(SEGMENTS[1])
        assert seen is not None
        assert BEGIN < seen < BEGIN + timedelta(seconds=AHEAD + 1), "before it was wanted"
        assert ahead.since(NullKeys()) is None


def test_ending_early_waits_for_what_runs_and_begins_nothing(source: Database, target: Database) -> None:
    source.free = True
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: target.now == [0, 1])
        target.answer(0)
        until(lambda: target.now == [1, 2])
        begun, running = [*target.begun], [*target.now]
        ended = threading.Thread(target=ahead.close)
        ended.start()
        for at in running:
            target.answer(at)
        ended.join(60)
        assert not ended.is_alive()
        assert target.begun == begun


# --- one statement for many segments ---------------------------------------------------------------------------------


@dataclass
class Statements:
    """What is asked of a database that goes on with one statement."""

    #: Segments of each statement; those that were asked for alone; statements that are open.
    begun: list[list[int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)
    open: int = 0
    #: The session ends instead of answering for these, or takes too long.
    ends: set[int] = field(default_factory=set)
    fault: type[Transient] = Transient

    def one(self, segment: Range) -> Digests:
        self.alone.append(SEGMENTS.index(segment) if segment in SEGMENTS else -1)
        return digests_of("one", self.alone[-1])

    def all_of(self, segments: Sequence[Range]) -> Generator[Digests]:
        self.begun.append([SEGMENTS.index(segment) for segment in segments])
        self.open += 1
        try:
            for at in self.begun[-1]:
                if at in self.ends:
                    raise self.fault("gone")
                yield digests_of("all", at)
        finally:
            self.open -= 1

    def following(self) -> Following:
        return Following(SEGMENTS, self.one, self.all_of, 4)


def test_a_statement_goes_on_from_segment_to_segment() -> None:
    told = Statements()
    following = told.following()
    assert [following(SEGMENTS[at]) for at in range(6)] == [digests_of("all", at) for at in range(6)]
    assert told.begun == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert told.open == 1, "the first came to its end"
    assert following(SEGMENTS[9]) == digests_of("all", 9)
    assert (told.begun[2:], told.open) == ([[9]], 0), "another than the next: anew, and for fewer"
    assert [following(SEGMENTS[at]) for at in (0, 1, 2)] == [digests_of("all", at) for at in range(3)]
    assert told.begun[3:] == [[0, 1], [2, 3, 4, 5]], "more again, as they are wanted to the end"
    assert told.open == 1
    assert following(Range(lower=(1,), upper=(7,))) == digests_of("one", -1)
    following.close()
    assert told.open == 0
    assert following(SEGMENTS[10]) == digests_of("all", 10)
    following.close()
    last = len(SEGMENTS) - 1
    assert [following(SEGMENTS[at]) for at in (last - 1, last)] == [digests_of("all", at) for at in (last - 1, last)]
    assert (told.open, told.alone) == (0, [-1])


def test_that_a_session_has_ended_is_no_matter_to_who_wants_no_more() -> None:
    """To close it is to end its transaction, and the database has done so already."""

    def gone(some: Sequence[Range]) -> Generator[Digests]:
        try:
            for segment in some:
                yield digests_of("all", SEGMENTS.index(segment))
        finally:
            raise Transient("the session was idle for too long")

    following = Following(SEGMENTS, Statements().one, gone, 4)
    following(SEGMENTS[0])
    following.close()
    assert following(SEGMENTS[1]) == digests_of("all", 1)
    following.close()
    by_itself = gone(SEGMENTS)
    next(by_itself)
    with pytest.raises(Transient):  # positive control: it does end so
        by_itself.close()


def test_a_session_that_was_idle_for_too_long() -> None:
    told = Statements(ends={2, 5})
    following = told.following()
    assert [following(SEGMENTS[at]) for at in (0, 1, 2, 3)] == [
        digests_of(*of) for of in (("all", 0), ("all", 1), ("one", 2), ("all", 3))
    ]
    following.close()
    with pytest.raises(Transient):
        following(SEGMENTS[5])
    assert told.open == 0


def test_what_took_too_long_is_not_asked_again_alone() -> None:
    """It would take as long again: who asked cuts the segment in two. The next one begins anew."""
    told = Statements(ends={2}, fault=StatementTimeout)
    following = told.following()
    assert [following(SEGMENTS[at]) for at in (0, 1)] == [digests_of("all", at) for at in (0, 1)]
    with pytest.raises(StatementTimeout):
        following(SEGMENTS[2])
    assert (told.alone, told.open) == ([], 0)
    assert following(SEGMENTS[3]) == digests_of("all", 3)
    following.close()


def test_a_side_with_one_statement_is_asked_for_one_segment_at_a_time(source: Database, target: Database) -> None:
    source.free = True
    open_now: list[int] = []

    def together(some: Sequence[Range]) -> Generator[Digests]:
        open_now.append(len(some))
        try:
            for segment in some:
                yield target.ask(segment)
        finally:
            open_now.pop()

    target.following = Following(SEGMENTS, target.ask, together, 8)
    with going(source, target) as ahead:
        want(ahead, 0)
        until(lambda: source.begun == list(range(AHEAD + 1)))
        assert target.now == [0]
        target.answer(0)
        until(lambda: target.now == [1])
        assert open_now == [8]
        target.answer_all()
        ahead.prints(SEGMENTS[1])
        until(lambda: not open_now, what="nothing is left open while nothing of it is wanted")
        target.following(SEGMENTS[8])
        assert open_now
    assert not open_now
