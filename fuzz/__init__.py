"""Requests that nobody would think of, sent to the running service: `make fuzz`."""
