"""Why single pairs fail: maps of the pair score that pass their checks, and what one changed condition does to it."""
