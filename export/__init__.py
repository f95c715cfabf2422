"""From a frozen model and a scheme to an artifact."""
