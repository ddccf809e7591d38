"""Training: the loop, optimisers, compiled functions, and the data on the device."""
