"""The paper's experiments: ``linalg-cnn experiment figure1``, ``figure2``, ``figure3``, ``timing``, ``distillation``.

An experiment is a list of trials (`gpu.experiments.plans`), each of which trains one network and can be killed and
resumed (`gpu.experiments.trial`). They run in one process, on all cores, or on a cluster (`gpu.experiments.sweep`).
What comes out is a record (`gpu.experiments.command`), drawn beside the paper's own numbers
(`gpu.experiments.figures`, `gpu.experiments.paper_numbers`).
"""
