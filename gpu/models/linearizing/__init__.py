"""What `gpu.linearize` is made of: the modes that answer and watch calls, and the modules whose forwards they run."""
