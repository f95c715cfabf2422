"""The number of pictures of a row: few, because there are many rows."""

TRAIN, VALIDATION, TEST = 50, 10, 10  # at least one of each class
STATISTICS, CALIBRATION = 32, 16
