"""The command line and the pipeline: the only place that knows all the stages."""
