"""Models of liveness detectors: from a presentation's frame to one number, higher is more surely bona fide."""
