"""The version of this code, as the ledger records it."""

VERSION = "0.1.0"
