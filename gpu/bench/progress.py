"""How far a benchmark is, and several of them in one bar."""

from typing import Any, Self

from tqdm import tqdm


class Progress:
    """A progress bar on standard error over benchmarks, each of which has parts.

    Parameters
    ----------
    draw : bool
        Whether to draw it.
    benchmarks : int
        How many will begin.
    """

    def __init__(self, draw: bool, benchmarks: int = 1) -> None:
        self.left, self.share = benchmarks, 0.0
        layout = "{desc}{percentage:3.0f}%|{bar}| {elapsed}{postfix}"
        self.bar: Any = tqdm(total=float(benchmarks), disable=not draw, bar_format=layout)

    @classmethod
    def of(cls, given: "bool | Progress", name: str, parts: int) -> Self:
        """Begin a benchmark in a bar that is given, or in one of its own.

        Parameters
        ----------
        given : bool or Progress
            Whether to draw a bar, or the bar to go on in.
        name : str
            Of the benchmark.
        parts : int
            How many it has.
        """
        progress: Any = given if isinstance(given, cls) else cls(bool(given))
        progress.bar.set_description(name)
        progress.share = 1 / parts
        return progress  # type: ignore[no-any-return]

    def done(self, part: str = "") -> None:
        """Count a part that is done."""
        self.bar.set_postfix_str(part, refresh=False)
        self.bar.update(self.share)

    def finish(self) -> None:
        """End a benchmark; the bar closes after the last one."""
        self.left -= 1
        whole = self.bar.total - self.left
        self.bar.update(whole - self.bar.n)
        if not self.left:
            self.bar.close()
