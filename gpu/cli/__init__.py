"""The command line: ``linalg-cnn`` or ``python -m gpu``. Each command has a module with its options."""
