"""What the engine costs, beside the least that the same hardware must spend for the same rows."""
