"""Training: devices, data on the device, one loop."""
