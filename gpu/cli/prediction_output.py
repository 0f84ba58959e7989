"""The output of ``linalg-cnn predict``: fields with tabs between them, CSV, or JSON."""

import csv
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence


class Output(ABC):
    """Prints the class of each picture.

    Parameters
    ----------
    names : sequence of str
        Names of the classes.
    scores : bool
        Whether to print the score of every class, too.
    """

    def __init__(self, names: Sequence[str], scores: bool) -> None:
        self.names, self.scores = names, scores

    @abstractmethod
    def add(self, path: str, values: Sequence[float]) -> None:
        """Take the scores of a picture."""

    def end(self) -> None:
        """Print what was held back until the last picture."""
        sys.stdout.flush()

    def class_of(self, values: Sequence[float]) -> str:
        """Return the name of the class with the highest score, the first of equal ones."""
        return self.names[max(range(len(values)), key=values.__getitem__)]

    def header(self) -> list[str]:
        """Return the titles of the columns."""
        return ["picture", "class", *(self.names if self.scores else [])]

    def fields(self, path: str, values: Sequence[float]) -> list[str]:
        """Return the cells of a row."""
        return [path, self.class_of(values), *([f"{value:.6g}" for value in values] if self.scores else [])]


class Text(Output):
    """A line for each picture as soon as it is read, with tabs between its fields; a header if there are scores."""

    def __init__(self, names: Sequence[str], scores: bool) -> None:
        super().__init__(names, scores)
        if scores:
            print("\t".join(self.header()))

    def add(self, path: str, values: Sequence[float]) -> None:
        """Print the line of a picture."""
        print("\t".join(self.fields(path, values)))


class Csv(Output):
    """CSV with a header, as RFC 4180 has it except for its line ends, which are the system's."""

    def __init__(self, names: Sequence[str], scores: bool) -> None:
        super().__init__(names, scores)
        self._writer = csv.writer(sys.stdout, lineterminator="\n")
        self._writer.writerow(self.header())

    def add(self, path: str, values: Sequence[float]) -> None:
        """Print the line of a picture."""
        self._writer.writerow(self.fields(path, values))


class Json(Output):
    """One JSON object: the names of the classes, and a list of the pictures."""

    def __init__(self, names: Sequence[str], scores: bool) -> None:
        super().__init__(names, scores)
        self._pictures: list[dict[str, object]] = []

    def add(self, path: str, values: Sequence[float]) -> None:
        """Keep the entry of a picture."""
        entry: dict[str, object] = {"picture": path, "class": self.class_of(values)}
        self._pictures.append(entry | ({"scores": list(values)} if self.scores else {}))

    def end(self) -> None:
        """Print the object."""
        print(json.dumps({"classes": list(self.names), "pictures": self._pictures}, indent=2))


FORMATS: dict[str, Callable[[Sequence[str], bool], Output]] = {"text": Text, "csv": Csv, "json": Json}
"""Forms of the output, by the name that ``--format`` takes."""
