"""A fleet of devices with known causes of failure: faces drawn from parameters, cameras that obey photon statistics,
and drops in which the reason of every planted failure is known. Nothing here judges a build. Start at `simulate.py`.
"""
