"""Names of tables and columns: their words, and what the words say."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache

#: Words of a column that holds how many there are.
COUNTING = frozenset({"count", "counts", "counter", "cnt", "num", "number", "nb", "nbr", "total", "totals", "n"})
#: Words that say nothing about which rows are meant.
FILLING = frozenset({"of", "the", "all", "has", "is", "cached", "cache", "denorm", "current", "msg", "direct"})
LAST = frozenset({"last", "latest", "newest", "recent", "recently", "updated", "active", "activity", "bumped", "final"})
FIRST = frozenset({"first", "oldest", "earliest", "initial"})
MADE = frozenset({"created", "create", "creation", "posted", "added", "made", "joined", "registered", "inserted"})
SUMMING = frozenset(
    {"total", "totals", "sum", "subtotal", "amount", "balance", "score", "points", "karma", "spent", "paid", "net"}
)
AVERAGING = frozenset({"avg", "average", "mean", "rating"})
#: Numbers that are multiplied: how many, and what one costs.
QUANTITY = frozenset({"quantity", "qty", "units", "pieces", "count"})
PRICE = frozenset({"price", "rate", "cost", "fee"})
#: Parts of a total that are taken off.
LESS = frozenset({"discount", "discounts", "refund", "refunded", "rebate", "down", "downvotes", "deduction", "paid"})
#: States of a row that decide whether it is counted.
FLAGS = frozenset(
    {
        *("deleted", "removed", "archived", "hidden", "cancelled", "canceled", "closed", "banned", "spam", "suspended"),
        *("active", "approved", "unapproved", "published", "public", "visible", "confirmed", "accepted", "enabled"),
        *("valid", "verified", "completed", "paid", "minor", "current", "draft", "event", "unread", "read", "positive"),
    }
)
#: Columns that hold one of a few values that decide it.
STATES = frozenset(
    {
        "status",
        "state",
        "type",
        "kind",
        "category",
        "visibility",
        "value",
        "vote",
        "direction",
        "action",
        "mode",
        "role",
        "ns",
        "namespace",
        "rev",
    }
)
BEGINS = frozenset({"start", "starts", "started", "begin", "begins", "began", "from", "opened", "since"})
ENDS = frozenset({"end", "ends", "ended", "finish", "finished", "until", "to", "closed", "till", "expires"})
#: What a reference's name ends with.
REFERRING = frozenset({"id", "fk", "key", "uuid", "ref", "pk"})
#: Names that mean something else in every table.
EVERYWHERE = frozenset(
    {
        *("id", "uuid", "guid", "name", "title", "slug", "status", "state", "type", "kind", "description", "position"),
        *(
            "created",
            "updated",
            "modified",
            "added",
            "deleted",
            "version",
            "note",
            "notes",
            "comment",
            "order",
            "active",
        ),
        *(
            "data",
            "value",
            "code",
            "key",
            "hash",
            "text",
            "body",
            "content",
            "ip",
            "weight",
            "enabled",
            "public",
            "date",
        ),
    }
)

#: From here on a name is taken to mean what it seems to.
SURE = 0.65

_CAMEL = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_JOINED = re.compile(r"(?!ac|dis|re|vis)(\w{2,})(counts?)|(user|nick|first|last)(names?)")
_IRREGULAR = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "media": "medium",
    "data": "datum",
}


@lru_cache(maxsize=65_536)
def words(name: str) -> tuple[str, ...]:
    """`CommentsCount`, `comments_count`, `commentscount` -> comments, count."""
    found: list[str] = []
    for part in _CAMEL.findall(name):
        joined = _JOINED.fullmatch(part.lower())
        found += [word for word in joined.groups() if word] if joined else [part.lower()]
    return tuple(found)


@lru_cache(maxsize=65_536)
def singular(word: str) -> str:
    """`replies` -> reply. A word that is no plural stays what it is."""
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) > 3 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes", "zes")):
        return word[:-2]
    if len(word) > 2 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def plural(word: str) -> bool:
    return singular(word) != word


def alike(one: str, other: str) -> float:
    """How surely two words mean the same: 1 for `post` and `posts`, less for `member` and `membership`."""
    a, b = singular(one), singular(other)
    if a == b:
        return 1.0
    short, long = sorted((a, b), key=len)
    if len(short) >= 4 and (long.startswith(short) or long.endswith(short)):
        return 0.8
    # a shared stem of two long words: subscriber, subscription
    return 0.7 if len(_shared(a, b)) >= 6 else 0.0


def _shared(a: str, b: str) -> str:
    at = 0
    while at < min(len(a), len(b)) and a[at] == b[at]:
        at += 1
    return a[:at]


def core(column: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """The words of a column that say what is counted, summed or kept."""
    return tuple(w for w in words(column) if w not in COUNTING and w not in FILLING and w not in without)


def says(column: str, among: Collection[str]) -> bool:
    return any(word in among for word in words(column))


def means_rows(column: str, table: str, roles: Sequence[str] = ()) -> float:
    """How surely a column's words name the rows of a table: `approved_posts_count` those of `forum_post`.

    `roles`: columns by which the rows belong to something (`followed_id`): these may be named instead.
    """
    named = core(column)
    if not named:
        return 0.0
    tail = [word for word in words(table) if word not in REFERRING]
    found = max(
        (alike(named[-1], word) * (1.0 if at == len(tail) - 1 else 0.9) for at, word in enumerate(tail)), default=0
    )
    for role in roles:
        found = max([found, *(alike(named[-1], word) * 0.9 for word in words(role) if word not in REFERRING)])
    return found


def shared_words(one: str, other: str) -> int:
    """Words that two columns have in common, those left out that say nothing."""
    mine = {singular(word) for word in words(one) if word not in FILLING}
    return len(mine & {singular(word) for word in words(other) if word not in FILLING})


def prefix_of(columns: Sequence[str]) -> str:
    """What all columns of a table begin with (`rev_` of `rev_id` and `rev_page`); empty: there is nothing."""
    firsts = {name.partition("_")[0] for name in columns if "_" in name}
    if len(columns) < 3 or len(firsts) != 1 or any("_" not in name for name in columns):
        return ""
    (first,) = firsts
    return f"{first}_"


def stem_of_reference(column: str, prefix: str = "") -> tuple[str, ...]:
    """The words of a referring column without what says that it refers: `last_post_id` -> last, post."""
    found = list(words(column.removeprefix(prefix)))
    while len(found) > 1 and found[-1] in REFERRING:
        found.pop()
    return tuple(found)


def refers(column: str) -> bool:
    """Does a column's name say that it refers to something?"""
    found = words(column)
    return len(found) > 1 and found[-1] in REFERRING


def names_table(stem: Sequence[str], table: str) -> float:
    """How surely the words of a reference name a table: `post` and `last_post` name `forum_posts`."""
    tail = [singular(word) for word in words(table)]
    tail = [word for at, word in enumerate(tail) if at == 0 or word != tail[at - 1]]  # `voucher_voucher` of one module
    mine = [singular(word) for word in stem]
    if not mine or not tail:
        return 0.0
    if mine == tail:
        return 1.0
    if len(mine) <= len(tail) and tail[-len(mine) :] == mine:
        return 0.9 - 0.01 * len(tail)
    if mine[-1] == tail[-1]:
        return 0.7 - 0.01 * len(tail)
    return 0.6 if len(mine[-1]) >= 4 and tail[-1].endswith(mine[-1]) and mine[-1] in tail else 0.0
