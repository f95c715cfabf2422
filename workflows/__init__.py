"""What ties the stages together: run, export, evaluate, diagnose, bundle, compare."""
