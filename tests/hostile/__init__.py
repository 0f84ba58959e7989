"""Small programs that are built to be changed silently: each has its reason in its name, and its right answer."""
