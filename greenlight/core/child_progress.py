"""How far a library has come, read from the progress bar that it printed last."""

import re
from pathlib import Path

TAIL_BYTES = 16_000
"""llm-compressor prints 2,000 between two bars."""

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# tqdm: `(3/13): Calibrating:  50%|█████     | 4/8 [00:01<00:01,  3.2it/s]`
TQDM = re.compile(r"(?P<what>[^|]{1,80}?):? +\d+%\|[^|]*\| (?P<done>\d+)/(?P<total>\d+) \[")
# rich, as NNCF has it: `Applying Weight Compression ━━━━━━━━━╸━━━━━━ 60% • 12/20 • 0:00:04 •
# 0:00:03`
RICH = re.compile(
    r"(?P<what>\w[\w ]{1,80}?) +[━╸╺]+ +(?P<percent>\d+)% •(?: (?P<done>\d+)/(?P<total>\d+) •)?"
)
# llm-compressor goes through the model layer by layer, and has a bar for each over the texts of the
# calibration.
LAYER = re.compile(r"\((\d+)/(\d+)\): (.+)")


def newest_bar(printed: str) -> str:
    """The last bar in it for people, such as `calibrating, layer 3 of 13` or `loading weights, 79
    of 111`.

    Empty where there is none, or where it is full: then the library does something else, of which
    it shows nothing.
    """
    for line in reversed(re.split(r"[\r\n]+", ESCAPES.sub("", printed))):
        found = TQDM.match(line.strip()) or RICH.match(line.strip())
        if not found:
            continue
        what, parts = found["what"], found.groupdict()
        if layer := LAYER.fullmatch(what):
            return f"{layer[3].lower()}, layer {layer[1]} of {layer[2]}"
        if parts["total"]:
            return (
                ""
                if parts["done"] == parts["total"]
                else f"{what.lower()}, {parts['done']} of {parts['total']}"
            )
        return "" if parts["percent"] == "100" else f"{what.lower()}, {parts['percent']}%"
    return ""


def progress_in(log: Path) -> str:
    """`newest_bar` of the end of a file that a process is writing to."""
    with open(log, "rb") as file:
        file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
        return newest_bar(file.read().decode(errors="replace"))
