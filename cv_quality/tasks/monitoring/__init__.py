"""Watched builds of any task: what is counted of them, and the state of their monitors in the lake."""
