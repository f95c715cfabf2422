"""How many pictures a row takes: few, for there are many rows."""

TRAIN, VALIDATION, TEST = 50, 10, 10  # one a class at least
STATISTICS, CALIBRATION = 32, 16
