"""Metrics of video: masks, stability over time, images, landmarks and depth, from arrays of frames.

Each module holds one kind of result with its formulas and their sources. A clip is taken frame by frame, so memory does
not grow with its pictures; numbers are pooled over a clip, and means are taken over clips.
"""
