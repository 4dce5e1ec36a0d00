"""Metrics of real-time video: masks, tracks, landmarks, images and depth, stability over time, and timing.

Every function takes arrays and needs neither lake nor decoder. A clip is taken frame by frame, so memory does not grow
with its pictures; numbers are pooled over a clip, means are taken over clips, and intervals resample clips.
"""
