"""Deterministic simulation: the engine's own repair code against model databases, under a seeded scheduler.

    scheduler.py   who goes next: seeded, with pauses, kills and statements that outlive their client
    server.py      a database as far as repairs see it: snapshots a statement, row locks, uniqueness
    model.py       the engine's adapter and ledger on such servers
    world.py       one seed: application writers, nodes, an operator; and the judge
    guards.py      each guard that can be taken out

The same seed gives the same trace. What is real: `work`, `repair`, `reconcile`, `adapters._units`, the pure core.
"""
