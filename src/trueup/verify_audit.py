#!/usr/bin/env python3
"""Verify an exported audit log of Trueup against heads that were kept elsewhere. Shares no code with Trueup.

usage: verify_audit.py AUDIT.jsonl HEADS.txt ORIGIN [SALTS.jsonl]          (signatures: see docs/audit.md)
"""
# mypy: ignore-errors

import base64
import hashlib
import hmac
import json
import re
import sys


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def root(stack):  # RFC 9162, 2.1.1: perfect subtrees, folded right to left
    found = stack[-1][1] if stack else sha()
    for _, left in stack[-2::-1]:
        found = sha(b"\1", left, found)
    return found


audit, kept, origin, *salts = sys.argv[1:]
bad, heads, stack, commitments, n, first, seen = [], {}, [], set(), 0, 0, 0
told = [row.strip() for row in open(kept, encoding="utf-8") if row.strip() and not row.startswith("\u2014 ")]
for name, size, digest in zip(*[iter([*told, *[""] * (-len(told) % 3)])] * 3, strict=True):
    if name != origin or not size.isdecimal():
        bad.append(f"a head of {name!r} and not of {origin!r}, or not whole")
    else:
        heads.setdefault(int(size), set()).add(base64.b64decode(digest))
for line in open(audit, "rb"):
    if n == 0 and line.startswith(b'{"frontier":'):  # a part of a log: the head where it begins stands for the rest
        n = first = json.loads(line)["size"]
        levels = [bit for bit in range(64, -1, -1) if n >> bit & 1]
        stack = list(zip(levels, map(bytes.fromhex, json.loads(line)["frontier"]), strict=True))
        bad += [f"no head of size {n}, where this part begins"] if n not in heads else []
    else:
        place = re.match(rb'\{"seq":(\d+),', line)
        if not line.endswith(b"\n") or not place or int(place[1]) != n:
            bad.append(f"line {n} is not whole, or not in its place")
        commitments.update(re.findall(rb'hmac[\\": ]+([0-9a-f]{64})', line))
        leaf, level, n = sha(b"\0", line[:-1]), 0, n + 1
        while stack and stack[-1][0] == level:
            leaf, level = sha(b"\1", stack.pop()[1], leaf), level + 1
        stack.append((level, leaf))
    seen += n in heads
    bad += [f"head {n} was not made of these first {n} lines"] if n in heads and heads[n] != {root(stack)} else []
bad += [f"there is a head of size {size}, but the log ends at {n}: lines are gone" for size in heads if size > n]
bad += [f"nothing vouches for what is after the last head, to {n}"] if n > max(heads, default=0) else []
for salt in map(json.loads, open(salts[0], encoding="utf-8") if salts else ()):
    opened = hmac.new(bytes.fromhex(salt["salt"]), salt["value"].encode(), "sha256").hexdigest()
    if opened != salt["commitment"] or opened.encode() not in commitments:
        bad.append(f"a value is not the one that {salt['commitment']} stands for")
print(f"lines {first} to {n}, {seen} of {len(heads)} heads agree\n" + "\n".join(f"BAD: {what}" for what in bad[:20]))
sys.exit(bool(bad) or not seen)
