"""This process and this machine: output, signals, temporary folders."""
