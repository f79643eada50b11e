"""The demo: it must tell its story in the same words and figures every time."""
