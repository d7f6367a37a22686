"""What was seen after each fault: one row a fault, printed at the end and kept in the docs."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

__all__ = ["BEGIN", "END", "Outcome", "Outcomes"]

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"
HEADER = ("fault", "where", "times", "the run met", "the same command again")


@dataclass
class Outcome:
    """One fault, the runs that met it, and how the same command ended when given again."""

    fault: str
    where: str
    runs: list[UUID] = field(default_factory=list)
    again: str = "COMPLETED, same bits"
    met: list[str] = field(default_factory=list)
    """Final states of the runs that met the fault."""


@dataclass
class Outcomes:
    """All faults of a session."""

    rows: list[Outcome] = field(default_factory=list)

    def table(self) -> str:
        """Return the outcomes counted, as Markdown."""
        counts: Counter[tuple[str, str, str, str]] = Counter()
        for row in self.rows:
            met = ", ".join(dict.fromkeys(row.met)) or "-"
            counts[row.fault, row.where, met, row.again] += max(1, len(row.runs))
        lines = [f"| {' | '.join(HEADER)} |", "|" + "---|" * len(HEADER)]
        lines += [
            f"| {fault} | {where} | {times} | {met} | {again} |"
            for (fault, where, met, again), times in counts.items()
        ]
        return "\n".join(lines)

    def summary(self) -> str:
        """Return how many faults there were, by kind."""
        counts: Counter[str] = Counter()
        for row in self.rows:
            counts[row.fault] += max(1, len(row.runs))
        kills = sum(count for fault, count in counts.items() if fault.startswith("kill -9"))
        return f"{counts.total()} faults, {kills} of them kills by `kill -9`."

    def write(self, page: Path) -> None:
        """Put the table between its marks on a page."""
        before, _, rest = page.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        text = f"{BEGIN}\n\n{self.summary()}\n\n{self.table()}\n\n{END}"
        page.write_text(f"{before}{text}{after}")
