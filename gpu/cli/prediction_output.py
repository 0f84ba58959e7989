"""The output of ``linalg-cnn predict``: fields with tabs between them, CSV, or JSON."""

import csv
import json
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029]")
"""Control characters, among them tabs and the ends of lines."""


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
    """A line for each picture as soon as it is read, with tabs between its fields; a header if there are scores.

    Control characters in the names of files and classes are escaped, such as tabs.
    """

    def __init__(self, names: Sequence[str], scores: bool) -> None:
        super().__init__(names, scores)
        if scores:
            self._print(self.header())

    def add(self, path: str, values: Sequence[float]) -> None:
        """Print the line of a picture."""
        self._print(self.fields(path, values))

    @staticmethod
    def _print(fields: Sequence[str]) -> None:
        """Print a line in which control characters are escaped: a name with a tab would make two fields."""
        print("\t".join(CONTROL.sub(lambda found: ascii(found[0])[1:-1], field) for field in fields))


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
        print(json.dumps({"classes": list(self.names), "pictures": self._pictures}, indent=2, allow_nan=False))


FORMATS: dict[str, Callable[[Sequence[str], bool], Output]] = {"text": Text, "csv": Csv, "json": Json}
"""Forms of the output, by the name that ``--format`` takes."""
