"""Sabotage: a promise is broken in the source on purpose, and the tests must notice."""
