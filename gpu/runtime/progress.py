"""A progress bar over the parts of a run, which several benchmarks can share."""

from typing import Any, Self

from tqdm import tqdm


class Progress:
    """A progress bar on standard error over several benchmarks, each of which has parts.

    Parameters
    ----------
    draw : bool
        Whether to draw the bar.
    benchmarks : int
        Number of benchmarks that share the bar.
    """

    def __init__(self, draw: bool, benchmarks: int = 1) -> None:
        self.left, self.share = benchmarks, 0.0
        layout = "{desc}{percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self.bar: Any = tqdm(total=float(benchmarks), disable=not draw, bar_format=layout)

    @classmethod
    def of(cls, given: "bool | Progress", name: str, parts: int) -> Self:
        """Begin a benchmark in a given bar, or in a new one.

        Parameters
        ----------
        given : bool or Progress
            The bar to continue; or whether to draw a new one.
        name : str
            Name of the benchmark.
        parts : int
            Number of parts of the benchmark.
        """
        progress: Any = given if isinstance(given, cls) else cls(bool(given))
        progress.bar.set_description(name)
        progress.share = 1 / parts
        return progress  # type: ignore[no-any-return]

    def done(self, part: str = "") -> None:
        """Count a finished part."""
        self.bar.set_postfix_str(part, refresh=False)
        self.bar.update(self.share)

    def finish(self) -> None:
        """End a benchmark, and close the bar after the last one."""
        self.left -= 1
        whole = self.bar.total - self.left
        self.bar.update(whole - self.bar.n)
        if not self.left:
            self.bar.close()
