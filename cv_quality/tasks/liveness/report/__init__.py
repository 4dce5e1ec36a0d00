"""The page of a liveness build: what gets through, of which species, and why."""
