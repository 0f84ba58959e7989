"""Small programs that are hard to follow, each with its reason in its name and its right answer."""
