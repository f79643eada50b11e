"""Long versions of the live and fault tests, by hand: `python -m tests.campaign.kill`, `… .stress`."""
