"""ffnet tunes feed-forward neural networks: Ray Tune schedules, TensorFlow trains, tables keep."""
