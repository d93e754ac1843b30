"""The domain: what a workflow means and how an execution moves. Imports nothing above it."""
