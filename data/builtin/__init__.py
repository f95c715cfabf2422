"""The data sets that Edgeproof ships, each in a folder with its data card, and the scripts that cut them."""
