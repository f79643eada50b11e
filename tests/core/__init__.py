"""The pure core: one file a module, mostly property tests, no database, no clock."""
