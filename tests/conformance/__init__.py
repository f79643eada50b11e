"""One suite that every adapter, store and trigger passes; it finds them by itself."""
