"""Others that do such work, each a program of its own that is run by the Python it is installed in.

They import nothing of ours but `conversation`, which is all that they and `bench.against` agree on.
Each does the work as its own documentation recommends, with every step's outcome recorded.
"""
