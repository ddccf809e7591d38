"""Help with this process and this machine: output, signals, temporary folders."""
