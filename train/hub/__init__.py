"""TensorFlow Hub: handles to local SavedModels, safely, and image modules as backbones."""
