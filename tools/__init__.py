"""What is run while Edgeproof is developed, and is not installed with it."""
