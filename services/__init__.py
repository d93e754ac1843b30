"""The use cases: what the service does for a caller, whoever brings the request."""
