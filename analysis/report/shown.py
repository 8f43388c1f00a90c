"""Results that show themselves: as lines in a terminal, as tables in a notebook."""

import html
from abc import ABC, abstractmethod

from analysis.report.sections import Section

FOLDED_FROM = 200  # characters of a note that is folded away: such are long, and read once
STYLE = """<style>
.structured-scaling table { font-variant-numeric: tabular-nums; border-collapse: collapse; }
.structured-scaling th, .structured-scaling td {
  text-align: left; padding: 0.25em 0.7em; white-space: nowrap; }
.structured-scaling td:last-child:not(.number) { white-space: normal; min-width: 14rem; }
.structured-scaling .number { text-align: right; }
.structured-scaling p, .structured-scaling details, .structured-scaling ul { max-width: 48rem; }
</style>"""


class Shown(ABC):
    """A result that a command prints and a notebook shows; both say the same."""

    @property
    @abstractmethod
    def lines(self) -> list[str]:
        """What a terminal shows."""

    @property
    @abstractmethod
    def sections(self) -> list[Section]:
        """What a notebook shows as tables, each with its note."""

    @property
    def cautions(self) -> list[str]:
        """What makes the numbers doubtful, a sentence each."""
        return []

    def __repr__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        tables = "".join(_html(section) for section in self.sections)
        told = "".join(f"<li>Caution: {html.escape(text)}</li>" for text in self.cautions)
        told = f"<ul>{told}</ul>" if told else ""
        return f'<div class="structured-scaling">{STYLE}{tables}{told}</div>'


def _html(section: Section) -> str:
    title, note = html.escape(section.title), html.escape(section.note)
    table = section.html() if section.rows else ""
    if len(note) > FOLDED_FROM:
        note = f"<details><summary>how to read this</summary>{note}</details>"
    elif note:
        note = f"<p>{note}</p>"
    return f"<p><strong>{title}</strong></p>{table}{note}"
