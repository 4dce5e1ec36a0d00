"""Metrics of real-time video: tracks, timing, what was on the screen, and intervals by clip.

Every function takes arrays and needs neither lake nor decoder; the unit of every interval is the clip.
"""
