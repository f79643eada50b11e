"""Pacing carried out: admission, the paced adapter, governors and their ledger; time moves only when waited."""
