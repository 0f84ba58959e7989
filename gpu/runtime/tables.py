"""Tables as Markdown, for records that are printed and pasted into documents."""

from collections.abc import Iterable, Sequence


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> list[str]:
    r"""Return the lines of a Markdown table.

    Parameters
    ----------
    header : sequence of str
        One title per column.
    rows : iterable of sequences of str
        The cells of each row, already formatted.
    text_columns : int
        Number of columns, from the left, that hold text; the others hold numbers and are aligned to the right.

    Returns
    -------
    list of str

    Examples
    --------
    >>> print(*markdown_table(["network", "us"], [["ResNet34", "670"]]), sep="\n")
    | network | us |
    |---|---:|
    | ResNet34 | 670 |
    """
    rule = "|" + "---|" * text_columns + "---:|" * (len(header) - text_columns)
    head, *body = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [head, rule, *body]
