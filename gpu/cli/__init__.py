"""The command line: ``linalg-cnn`` or ``python -m gpu``. Each module has the options of a command, and runs it."""
