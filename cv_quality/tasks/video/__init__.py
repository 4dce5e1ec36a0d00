"""Video: algorithms that turn the frames of a stream into masks, landmarks, depth or better pictures, in real time."""
