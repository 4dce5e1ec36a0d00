"""Studies and decisions: what is planned, assigned, compared, watched and released, from arrays and frames alone."""
