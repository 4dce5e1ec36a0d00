"""Root causes on the page of a build, for any task: their records, how they are read, and their charts."""
