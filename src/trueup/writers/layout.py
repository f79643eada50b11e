"""What is stored, and the scripts that change it: agreed between the application's writers and the repair.

Versioned: one hash a key. `v` is the version that the source issued, every other field is a column (`n` where there is
one). A hash with `v` alone is a tombstone: the row was deleted at that version, and nothing older can bring it back.

Generation-fenced: one hash a key. `gen` is the generation that counts, `base` what the source counted as it began, and
`delta:{gen}` what was added in it since. The value is `base + delta:{gen}`; deltas of older generations count nowhere.

Numbers are decimal digits without leading zeros, compared as such: a script's own numbers end at 2**53.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Field that holds the version.
VERSION = "v"
#: Column where a versioned hash has only one.
VALUE = "n"
#: Fields of a generation-fenced hash.
GENERATION = "gen"
BASE = "base"
DELTA = "delta:"

_OLDER = "local function older(a, b) return #a < #b or (#a == #b and a < b) end\n"

#: KEYS[1]; ARGV: version, "1" if an equal version is written over (a repair), then field, value, … (none: a tombstone).
#: 1: written; 0: what is there is newer, or as new.
PUBLISH = (
    _OLDER
    + """local held = redis.call('HGET', KEYS[1], 'v')
if held and not older(held, ARGV[1]) and not (held == ARGV[1] and ARGV[2] == '1') then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if field ~= 'v' then redis.call('HDEL', KEYS[1], field) end
end
redis.call('HSET', KEYS[1], 'v', ARGV[1], unpack(ARGV, 3))
return 1"""
)

#: KEYS[1]; ARGV: generation, base. 1: it counts from now on; 0: a generation that is as new, or newer, counts already.
REBASE = (
    _OLDER
    + """local held = redis.call('HGET', KEYS[1], 'gen')
if held and not older(held, ARGV[1]) then return 0 end
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 6) == 'delta:' and older(string.sub(field, 7), ARGV[1]) then
    redis.call('HDEL', KEYS[1], field)
  end
end
redis.call('HSET', KEYS[1], 'gen', ARGV[1], 'base', ARGV[2])
return 1"""
)


def published(version: int, values: Mapping[str, object] | None, *, over_equal: bool = False) -> list[str]:
    """Arguments of `PUBLISH`; `values` None: the row is deleted at that version."""
    given = [str(part) for name, value in (values or {}).items() for part in (name, value)]
    return [digits(version), "1" if over_equal else "0", *given]


def digits(number: int) -> str:
    """A version or generation as it is stored. ValueError if it is negative."""
    if number < 0:
        raise ValueError(f"{number} is no version: they are counted from 0 up")
    return str(int(number))


def delta_field(generation: int) -> str:
    return DELTA + digits(generation)


def total_of(stored: Mapping[str, str]) -> int | None:
    """What a generation-fenced hash amounts to; None: nothing was counted yet."""
    if GENERATION not in stored:
        return None
    return int(stored[BASE]) + int(stored.get(DELTA + stored[GENERATION], 0))
