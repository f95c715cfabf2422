"""Android devices by `adb`: the agent in a Python there, or TensorFlow Lite's own tool, ``benchmark_model``."""
