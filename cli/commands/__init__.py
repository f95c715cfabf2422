"""One module a sub-command, each with a click command called `command`. Heavy imports stand inside the functions."""
