"""Crashes, cut connections and lost answers: state and ledger must both be right afterwards."""
