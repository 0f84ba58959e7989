"""What `gpu.linearize` is made of: what a call is, the modes that answer and watch calls, and the modules they serve."""
