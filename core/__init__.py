"""The nouns every stage shares, the artifact store and the errors. Imports nothing of ours, and no framework."""
