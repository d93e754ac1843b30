"""Mutation testing: how many small faults in the code the tests would notice."""
