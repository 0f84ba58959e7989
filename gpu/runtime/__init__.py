"""What runs on a machine has in common: devices, timing, and the description of the machine."""
