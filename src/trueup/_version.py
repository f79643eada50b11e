"""The version of this code, as the ledger records it."""

__version__ = "0.1.0"
