"""The drawing of the demonstration: the network with both paths, and below it the messages in time.
Plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from tools.demonstration.scene import Scene, Step
from tools.lab.topology import Node

WIDTH = 1120
MARGIN = 56
MAP_HEIGHT = 520
ROW_HEIGHT = 34
LIFELINES_TOP = MAP_HEIGHT + 110

INK, SOFT, LINE, PAPER = "#1c2733", "#5b6b7b", "#cfd8e0", "#fbfcfd"
BEFORE, AFTER, NHRP, IKE = "#d9822b", "#12875a", "#2b62c4", "#7b3fb5"
FONT = "font-family='Inter, Segoe UI, Helvetica, Arial, sans-serif'"

HUB_AT, LEFT_AT, RIGHT_AT = (560, 150), (215, 340), (905, 340)
BOX_WIDTH, BOX_HEIGHT = 230, 74
LAN_DROP = 108
NOT_DATA = ("nhrp", "ike")


class Drawing:
    """One picture; `write` makes the file."""

    def __init__(self, nodes: Sequence[Node], scene: Scene) -> None:
        self._hub, self._one, self._two = nodes
        self._scene = scene
        self._steps = scene.highlights
        self._parts: list[str] = []

    def write(self, path: Path) -> None:
        """Draws everything into an SVG file."""
        height = LIFELINES_TOP + 60 + ROW_HEIGHT * len(self._steps) + 40
        self._heading()
        self._paths()
        self._machines()
        self._sequence(height - 44)
        body = "\n".join(self._parts)
        path.write_text(
            f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}'"
            f" viewBox='0 0 {WIDTH} {height}' {FONT}>\n{_markers()}\n"
            f"<rect width='{WIDTH}' height='{height}' fill='{PAPER}'/>\n{body}\n</svg>\n",
            encoding="utf-8",
        )

    def _heading(self) -> None:
        before_ms, after_ms = self._scene.before_ms, self._scene.after_ms
        self._text(MARGIN, 52, "Two spokes find the short way", size=26, weight=650)
        self._text(
            MARGIN,
            80,
            f"Round trip {before_ms:.1f} ms over the hub, {after_ms:.1f} ms directly:"
            f" {before_ms / after_ms:.1f} times quicker.",
            size=15,
            color=SOFT,
        )
        self._text(
            WIDTH - MARGIN,
            52,
            f"{self._scene.switch_ms:.0f} ms",
            size=26,
            weight=650,
            color=AFTER,
            anchor="end",
        )
        self._text(
            WIDTH - MARGIN,
            80,
            f"from the first packet to the first direct one, {self._scene.on_the_way_ms:g} ms of it link delay",
            size=13,
            color=SOFT,
            anchor="end",
        )

    def _paths(self) -> None:
        left, right, hub = LEFT_AT, RIGHT_AT, HUB_AT
        half = BOX_HEIGHT / 2
        for end in (left, right):
            self._parts.append(
                f"<path d='M{end[0]} {end[1] - half} C{end[0]} {hub[1] + 50},"
                f" {hub[0] + (end[0] - hub[0]) * 0.6} {hub[1]}, "
                f"{hub[0] + (BOX_WIDTH / 2 if end is right else -BOX_WIDTH / 2)} {hub[1]}'"
                f" fill='none' stroke='{BEFORE}' stroke-width='3' stroke-dasharray='9 7'/>"
            )
        x1, x2 = left[0] + BOX_WIDTH / 2 + 8, right[0] - BOX_WIDTH / 2 - 8
        self._parts.append(
            f"<line x1='{x1}' y1='{left[1]}' x2='{x2}' y2='{right[1]}' stroke='{AFTER}'"
            f" stroke-width='6' marker-start='url(#bold)' marker-end='url(#bold)'/>"
        )
        self._pill(560, left[1], f"after: {self._scene.after_ms:.1f} ms", AFTER)
        self._pill(292, 196, f"before: {self._scene.before_ms:.1f} ms", BEFORE)
        self._pill(828, 196, f"{len(self._scene.relayed[0].there)} hops each way", BEFORE)

    def _machines(self) -> None:
        for node, at in ((self._hub, HUB_AT), (self._one, LEFT_AT), (self._two, RIGHT_AT)):
            away = f"{self._scene.delays_ms[node.number]:g} ms away"
            self._box(at, node.name, f"tunnel {node.tunnel}", f"outer {node.nbma}, {away}")
        for node, at in ((self._one, LEFT_AT), (self._two, RIGHT_AT)):
            lan = (at[0], at[1] + LAN_DROP)
            self._parts.append(
                f"<line x1='{at[0]}' y1='{at[1] + BOX_HEIGHT / 2}' x2='{lan[0]}'"
                f" y2='{lan[1] - 22}' stroke='{LINE}' stroke-width='3'/>"
            )
            self._parts.append(
                f"<rect x='{lan[0] - 98}' y='{lan[1] - 22}' width='196' height='44' rx='22'"
                f" fill='white' stroke='{LINE}' stroke-width='1.5'/>"
            )
            self._text(lan[0], lan[1] - 2, node.lan_host, size=14, weight=600, anchor="middle")
            self._text(
                lan[0],
                lan[1] + 14,
                f"LAN {node.lan_prefix}",
                size=11.5,
                color=SOFT,
                anchor="middle",
            )

    def _sequence(self, bottom: float) -> None:
        self._parts.append(
            f"<line x1='{MARGIN}' y1='{MAP_HEIGHT - 8}' x2='{WIDTH - MARGIN}' y2='{MAP_HEIGHT - 8}'"
            f" stroke='{LINE}'/>"
        )
        self._text(MARGIN, MAP_HEIGHT + 30, "Who said what", size=19, weight=650)
        self._text(
            MARGIN,
            MAP_HEIGHT + 52,
            "ms since the first data packet; all but IKE travelled in ESP and is shown decrypted."
            " Not to scale; of the pings only the first and the first direct packets",
            size=13,
            color=SOFT,
        )
        columns = {self._one.number: 250, self._hub.number: 600, self._two.number: 950}
        for node in (self._one, self._hub, self._two):
            x = columns[node.number]
            self._parts.append(
                f"<line x1='{x}' y1='{LIFELINES_TOP}' x2='{x}' y2='{bottom}' stroke='{LINE}'"
                f" stroke-width='2'/>"
            )
            self._pill(x, LIFELINES_TOP - 14, node.name, INK)
        for number, step in enumerate(self._steps):
            y = LIFELINES_TOP + 40 + number * ROW_HEIGHT
            self._arrow(step, columns, y)

    def _arrow(self, step: Step, columns: dict[int, int], y: float) -> None:
        color, marker = self._ink(step)
        start, end = columns[step.source], columns[step.destination]
        inset = 9 if end > start else -9
        self._text(
            MARGIN + 108, y + 4, f"{self._scene.at_ms(step):.1f}", size=13, color=SOFT, anchor="end"
        )
        self._parts.append(
            f"<line x1='{start}' y1='{y}' x2='{end - inset}' y2='{y}' stroke='{color}'"
            f" stroke-width='2' marker-end='url(#{marker})'/>"
        )
        # The label of a long arrow is on its first half, clear of the hub's lifeline.
        between = start + (end - start) * (0.25 if abs(end - start) > 400 else 0.5)
        subject = step.about.partition(" at ")[0]
        if "→" in subject:
            subject = ""
        self._label(between, y, f"{step.what} {subject}".rstrip(), color, bold=marker in NOT_DATA)

    def _ink(self, step: Step) -> tuple[str, str]:
        """Returns the colour of a message, and the arrow head of that colour."""
        if step.is_nhrp:
            return NHRP, "nhrp"
        if step.is_ike:
            return IKE, "ike"
        if self._hub.number in (step.source, step.destination):
            return BEFORE, "before"
        return AFTER, "after"

    def _box(self, at: tuple[int, int], title: str, *lines: str) -> None:
        x, y = at[0] - BOX_WIDTH / 2, at[1] - BOX_HEIGHT / 2
        self._parts.append(
            f"<rect x='{x}' y='{y}' width='{BOX_WIDTH}' height='{BOX_HEIGHT}' rx='12' fill='white'"
            f" stroke='{INK}' stroke-width='2'/>"
        )
        self._text(at[0], y + 25, title, size=17, weight=650, anchor="middle")
        for number, line in enumerate(lines):
            self._text(at[0], y + 45 + number * 17, line, size=13, color=SOFT, anchor="middle")

    def _pill(self, x: float, y: float, text: str, color: str) -> None:
        width = 8.0 * len(text) + 26
        self._parts.append(
            f"<rect x='{x - width / 2:.1f}' y='{y - 15}' width='{width:.1f}' height='30' rx='15'"
            f" fill='{color}'/>"
        )
        self._text(x, y + 5, text, size=14, weight=600, color="white", anchor="middle")

    def _label(self, x: float, y: float, text: str, color: str, *, bold: bool) -> None:
        width = 7.6 * len(text) + 12
        self._parts.append(
            f"<rect x='{x - width / 2:.1f}' y='{y - 11}' width='{width:.1f}' height='22' rx='11'"
            f" fill='{PAPER}'/>"
        )
        self._text(
            x, y + 4.5, text, size=13, weight=600 if bold else 500, color=color, anchor="middle"
        )

    def _text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        weight: int = 400,
        color: str = INK,
        anchor: str = "start",
    ) -> None:
        self._parts.append(
            f"<text x='{x}' y='{y}' font-size='{size}' font-weight='{weight}' fill='{color}'"
            f" text-anchor='{anchor}'>{escape(text)}</text>"
        )


def _markers() -> str:
    arrows = "".join(
        f"<marker id='{name}' viewBox='0 0 10 10' refX='8' refY='5' markerWidth='{size}'"
        f" markerHeight='{size}' orient='auto-start-reverse'>"
        f"<path d='M0 0 L10 5 L0 10 z' fill='{color}'/></marker>"
        for name, color, size in (
            ("before", BEFORE, 7),
            ("after", AFTER, 7),
            ("nhrp", NHRP, 7),
            ("ike", IKE, 7),
            ("bold", AFTER, 4),
        )
    )
    return f"<defs>{arrows}</defs>"
