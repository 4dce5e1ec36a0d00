"""Where data lies: object stores, the one schema of every table, and atomic reads and writes of them."""
