"""The experiments of ``linalg-cnn experiment``, the paper's and four that it does not have.

``figure1``, ``figure2``, ``figure3`` and ``timing`` are the paper's; ``distillation``, ``schedules``, ``price`` and
``front`` go beyond it.

Each is an `Experiment` in a module of its own, found by name (`gpu.experiments.registry`): the trials that it trains
(`gpu.experiments.trial`) or the measurement that it takes, and the view that shows its record. Trials are resumed where
they were interrupted (`gpu.experiments.trial_run`) and run in one process, on all cores, or on a cluster
(`gpu.experiments.sweep`). `gpu.experiments.command` writes the record and its figure.

A new experiment is a module here that defines ``EXPERIMENT``, and a line in `gpu.settings.EXPERIMENTS`.
"""
