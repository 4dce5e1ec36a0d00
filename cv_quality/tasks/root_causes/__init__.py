"""Root causes of any task's failures: slices, the attribution of a change, clusters."""
