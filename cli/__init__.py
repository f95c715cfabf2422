"""The command line: commands, console, options. It calls workflows and prints."""
