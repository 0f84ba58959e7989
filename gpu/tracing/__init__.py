"""From a torch module to an AffineGraph: export (`export`), walk (`walker`), build (`builder`, `aten`), compare."""
