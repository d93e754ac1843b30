"""Chaos: real processes, a real database and a real HTTP peer, broken at random by a seed."""
