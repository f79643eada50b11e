"""Alerts, with real receivers on this machine."""
