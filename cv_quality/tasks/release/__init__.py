"""Whether a build may ship: the stage, table and section that hold its numbers against the release policy."""
