"""The command line as a user types it: output, exit codes, and what it refuses."""
