"""Small hostile programs, each with its reason in its name and its right answer."""
