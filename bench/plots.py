"""A workload's contest as a picture: bars for throughput, CPU and memory side by side, as SVG written by hand. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape

from bench.contestants import Contestant, Kind, Side
from bench.measure import Spread
from bench.outcome import Outcome

_ROW: Final = 20
_BAR: Final = 13
_HEAD: Final = 66
_GAP: Final = 26
"""Above each side's rows: its name."""
_FOOT: Final = 30
_LABELS: Final = 330
_PANEL: Final = 236
_BARS: Final = 132
"""Of a panel: the rest is for the figures behind the bars."""
WIDTH: Final = _LABELS + 3 * _PANEL + 10
COLOURS: Final[dict[Kind, str]] = {"kafkeep": "#1f6feb", "peer": "#c9822b", "bound": "#9aa4af"}
_KINDS: Final[dict[Kind, str]] = {"kafkeep": "kafkeep", "peer": "other programs", "bound": "bounds"}
_SIDES: Final[dict[Side, str]] = {"backup": "out of the cluster", "restore": "into the cluster"}


@dataclass(frozen=True, slots=True)
class _Panel:
    """One figure of all contestants."""

    title: str
    digits: int
    figure: Callable[[Outcome, Contestant], Spread | None]


def _memory(outcome: Outcome, contestant: Contestant) -> Spread | None:
    return outcome.figures(contestant.name).rss if contestant.is_whole_command else None


_PANELS: Final = (
    _Panel("MB/s (more is better)", 0, lambda outcome, each: outcome.figures(each.name).rate),
    _Panel("CPU-s/GB (less is better)", 2, lambda outcome, each: outcome.figures(each.name).cpu),
    _Panel("peak memory, MB (less is better)", 0, _memory),
)


def file_name(outcome: Outcome) -> str:
    """Beside the page that shows it."""
    return f"benchmarks-{outcome.workload.name}.svg"


def draw(outcome: Outcome) -> str:
    """The whole file. Every panel has a scale of its own, which begins at 0; a thin line goes from lowest to highest."""
    sides = [(side, [each for each in outcome.took_part() if each.side == side]) for side in _SIDES]
    sides = [(side, found) for side, found in sides if found]
    height = _HEAD + sum(_GAP + _ROW * len(found) for _, found in sides) + _FOOT
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            'font-family="Helvetica, Arial, sans-serif" font-size="12" fill="#24292f">'
        ),
        f"<title>{escape(outcome.workload.title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(12, 24, outcome.workload.title, size=16, bold=True),
    ]
    for number, panel in enumerate(_PANELS):
        parts.append(_text(_LABELS + number * _PANEL, 50, panel.title, bold=True))
    top = float(_HEAD)
    for side, found in sides:
        parts.append(_text(12, top + _GAP - 8, _SIDES[side], bold=True))
        top += _GAP
        for index, contestant in enumerate(found):
            parts.append(_text(_LABELS - 12, top + index * _ROW + 11, contestant.title, anchor="end"))
        for number, panel in enumerate(_PANELS):
            parts += _bars(panel, outcome, found, _LABELS + number * _PANEL, top)
        top += _ROW * len(found)
    return "\n".join([*parts, *_legend(top + 20), "</svg>", ""])


def _bars(panel: _Panel, outcome: Outcome, found: Sequence[Contestant], left: float, top: float) -> list[str]:
    figures = [panel.figure(outcome, contestant) for contestant in found]
    most = max((figure.high for figure in figures if figure is not None), default=0.0)
    scale = _BARS / most if most > 0 else 0.0
    parts = [f'<line x1="{left}" y1="{top:.1f}" x2="{left}" y2="{top + _ROW * len(found):.1f}" stroke="#d0d7de"/>']
    for index, (contestant, figure) in enumerate(zip(found, figures, strict=True)):
        y = top + index * _ROW
        if figure is None:
            continue
        middle = y + _BAR / 2 + 1
        parts.append(
            f'<rect x="{left}" y="{y + 1:.1f}" width="{max(figure.median * scale, 1):.1f}" height="{_BAR}" '
            f'fill="{COLOURS[contestant.kind]}"/>'
        )
        if figure.high > figure.low:
            parts.append(
                f'<line x1="{left + figure.low * scale:.1f}" y1="{middle:.1f}" x2="{left + figure.high * scale:.1f}" '
                f'y2="{middle:.1f}" stroke="#24292f"/>'
            )
        parts.append(_text(left + figure.high * scale + 5, y + 11, f"{figure.median:.{panel.digits}f}"))
    return parts


def _legend(y: float) -> list[str]:
    parts: list[str] = []
    for number, (kind, words) in enumerate(_KINDS.items()):
        left = _LABELS + number * 140
        parts.append(f'<rect x="{left}" y="{y - 10:.1f}" width="11" height="11" fill="{COLOURS[kind]}"/>')
        parts.append(_text(left + 16, y, words))
    return parts


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}"{weight}>{escape(text)}</text>'
