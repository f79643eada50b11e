"""Pacing carried out: every statement against a paced database is admitted here, and its time is charged.

    adapter -> `Paced` (asks first) -> `Admission` (waits) <- `Governor` (a thread: probe, policy, ledger)

What is permitted, and why, is `core.pace`'s to say; here it is measured, waited and written down. Reconciling knows
nothing of it: an adapter that is paced is an adapter.
"""
