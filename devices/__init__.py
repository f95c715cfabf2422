"""Targets: open(artifact, target) gives a runner; agent.py is the one file that travels."""
