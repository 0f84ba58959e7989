"""Tables as Markdown, for records that are printed and pasted into documents."""

from collections.abc import Collection, Iterable, Sequence


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural where it is not one.

    Examples
    --------
    >>> counted(1, "trial"), counted(1000, "image")
    ('1 trial', '1,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_a_line(error: Exception) -> str:
    r"""Return the type of an error and the first line of its message.

    Examples
    --------
    >>> in_a_line(ValueError("no such thing\nand much more"))
    'ValueError: no such thing'
    """
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int | Collection[int] = 1
) -> list[str]:
    r"""Return the lines of a Markdown table.

    Parameters
    ----------
    header : sequence of str
        One title per column.
    rows : iterable of sequences of str
        The cells of each row, already formatted.
    text_columns : int or collection of int
        The columns that hold text: their number, counted from the left, or their positions. The others hold numbers
        and are aligned to the right.

    Returns
    -------
    list of str

    Examples
    --------
    >>> print(*markdown_table(["network", "us"], [["ResNet34", "670"]]), sep="\n")
    | network | us |
    |---|---:|
    | ResNet34 | 670 |
    >>> print(*markdown_table(["batch", "us", "verdict"], [["64", "670", "cheaper"]], text_columns=[2]), sep="\n")
    | batch | us | verdict |
    |---:|---:|---|
    | 64 | 670 | cheaper |
    """
    text = range(text_columns) if isinstance(text_columns, int) else text_columns
    rule = "".join("|---" if column in text else "|---:" for column in range(len(header))) + "|"
    head, *body = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [head, rule, *body]
