"""Our own state: runs, segments, decisions, outcomes, plans, controls. Never mixed with the databases being reconciled.

`schema` says what is kept, `migrations` how it came to be so, `ledger` is the only module that reads and writes it,
`lock` keeps two processes from running one projection at the same time.
"""
