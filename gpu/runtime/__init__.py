"""The machine: devices, CUDA graphs, timing, its description, and the tables of measurements."""
