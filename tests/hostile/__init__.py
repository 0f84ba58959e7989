"""Small programs that tried to break the product, each with its reason in its name and its right answer."""
