"""What a drop is, and how it gets into the lake: manifest, parsing, frames, validation, importers of foreign data."""
