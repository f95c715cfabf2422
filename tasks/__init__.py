"""Tasks: what a right answer is, and how the answers of two files are compared on the same samples."""
