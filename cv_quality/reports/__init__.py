"""The failure report of a build: its numbers, charts, pictures and data quality as one page that needs no network."""
