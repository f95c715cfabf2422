"""One module per sub-command, each with a click command called `command`. Heavy imports are inside the functions."""
