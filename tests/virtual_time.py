"""The virtual time of the simulation, for the tests of single parts."""

from __future__ import annotations

from simulation.virtual_time import VirtualClock, simulate

__all__ = ["VirtualClock", "simulate"]
