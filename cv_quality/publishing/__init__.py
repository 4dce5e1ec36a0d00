"""Products for people beyond the team: brief, deck, explorer, dashboards and extracts, all of the same numbers."""
