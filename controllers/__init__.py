"""HTTP in, HTTP out: validate, ask a service, answer. No SQL, no decisions."""
