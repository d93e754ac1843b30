"""The real engine under every fault that a seed can think of, in virtual time.

Several engines, each a process of its own that can be frozen or killed between any two awaits,
share one memory store behind a network that loses, delays and reorders. A run is a function of its
seed: the same seed gives the same run, to the last call.
"""
