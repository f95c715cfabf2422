"""A Dask cluster: its workers answer, decode and compute features, and offer the devices that they have."""
