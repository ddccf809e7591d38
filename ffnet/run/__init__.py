"""One run on disk: its folder, tables and checkpoints. Neither Ray nor TensorFlow is needed."""
