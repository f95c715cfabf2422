"""The one door to TensorFlow and Keras: imports, freezing, SavedModels, checkpoints. Light to import."""
