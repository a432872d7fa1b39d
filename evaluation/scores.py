"""What a simulation showed, for a person at a terminal."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from evaluation.evaluate import FaultScore, Result, Spread
from evaluation.score import Score

_SHOWN_FLAWS = 20
_WORDS = {True: ("met", "green"), False: ("NOT MET", "bold red"), None: ("not measured", "yellow")}


def progress_bar(console: Console, total: int) -> tuple[Progress, Callable[[int], None]]:
    """Return a bar over `total` dates (a context manager), and what advances it."""
    columns = (TextColumn("simulated dates"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task("", total=total)
    return bar, lambda count: bar.advance(task, count)


def print_result(console: Console, result: Result) -> None:
    """Print the faults, the confusion matrix and the targets."""
    kinds = f"{len(result.healthy)} kinds of healthy dates, {len(result.faults)} of faulty ones"
    console.print(f"{result.healthy_days} healthy dates, {result.faulty_days} faulty ones; {kinds}")
    rows = [[name, *_fault_row(score)] for name, score in result.faults.items()]
    headings: Sequence[str] = (
        "fault",
        "dates",
        "detected",
        "after due",
        "longest",
        "causes right",
        "95 % bound",
        "undetermined",
    )
    _print_table(console, "Faults", headings, rows)
    # Sparse, because the matrix is wider than a terminal and nearly all of it is empty.
    rows = [
        [cause, ", ".join(f"{name} {count}" for name, count in sorted(named.items()))]
        for cause, named in result.confusion.items()
    ]
    _print_table(console, "Causes of single faults", ("true", "told last, on so many dates"), rows)
    console.print(_attributes(result), soft_wrap=True)
    for target in result.targets:
        word, style = _WORDS[target.met]
        console.print(Text(f"{word:12} {target.what}: {target.seen}", style=style))
    for where, flaws in list(result.flaws.items())[:_SHOWN_FLAWS]:
        console.print(f"  {where}: {'; '.join(flaws)}", soft_wrap=True)
    if result.flaws:
        world = next(iter(result.flaws)).rsplit(" ", 1)[0]
        console.print(f"play one again: python -m evaluation --again {world!r} --out DIR", soft_wrap=True)


def print_scores(console: Console, scores: Sequence[Score]) -> None:
    """Print what became of the dates of one world."""
    for score in scores:
        notifications = (
            ", ".join(f"{count} {kind}" for kind, count in score.notifications.items() if count) or "nothing"
        )
        flaws = "; ".join(score.flaws) or "as it should be"
        named = ", ".join(score.named) or "no cause"
        line = f"{score.game_date} {score.scenario}: {named}, told {notifications}: {flaws}"
        console.print(line, soft_wrap=True)


def _fault_row(score: FaultScore) -> tuple[str, ...]:
    shares = (f"{share:.1%}" for share in (score.causes_right, score.at_least, score.undetermined))
    return str(score.dates), str(score.detected), *_delays(score.delay_minutes), *shares


def _attributes(result: Result) -> str:
    """Say the four attributes of the alerts, and what became of the evidence that was taken away."""
    found, taken = result.attributes, result.taken
    detect, reset = (" and ".join(_delays(one)) for one in (found.minutes_to_detect, found.minutes_to_reset))
    return (
        f"precision {found.precision:.1%}, recall {found.recall:.1%}, to detect {detect}, to reset {reset}\n"
        f"{taken.pieces} pieces of evidence taken away: {taken.misled} times a lost line looked like another cause\n"
    )


def _delays(spread: Spread) -> tuple[str, str]:
    if spread.median is None:
        return "", ""
    return f"{spread.median:.1f} min", f"{spread.longest:.1f} min"


def _print_table(console: Console, title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    table.add_column(headings[0], no_wrap=True)
    for heading in headings[1:]:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(*row)
    console.print(table)
