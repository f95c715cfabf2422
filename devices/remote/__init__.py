"""Devices at the other end of a connection, on which the agent runs: `ssh`, and what all of them share."""
