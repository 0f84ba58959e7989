"""Any torch module as an AffineGraph: exported by ``torch.export``, then read operation by operation."""
