"""The page of a video build: what its sections read, how they are drawn, and the page itself."""
