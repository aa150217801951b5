"""`make demo`: chat with the live model, and see both colors answer the same prompt."""

import queue
import threading
from dataclasses import dataclass, field

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from demo.colors import COLORS, Colors, Slot, find_colors
from demo.stream import Times, answer
from greenlight.core.errors import GreenlightError
from greenlight.core.records import Color

MARK = {"blue": ":blue[●]", "green": ":green[●]"}
EXAMPLE = "What is the capital of France?"
TINY_EXAMPLE = "How do I read a file line by line in Python?"
"""For the built-in model, which has read Python's documentation and nothing else."""


Place = tuple[DeltaGenerator, DeltaGenerator]
"""Where an answer's text and its figures stand on the page."""


@dataclass
class Answer:
    """One answer on the page, as far as it has come."""

    text: str = ""
    times: Times = field(default_factory=Times)
    error: str = ""


def main() -> None:
    st.set_page_config("Greenlight", "🚦", layout="wide")
    st.title("Greenlight")
    try:
        colors = find_colors()
    except GreenlightError as error:
        st.error(str(error))
        return
    _draw_header(colors)
    with st.sidebar:
        max_tokens = st.slider("Maximum tokens per answer", 8, 512, 96, 8)
        if st.button("Refresh"):
            st.rerun()
    beside, chat = st.tabs(["Side by side", "Chat with live"])
    with beside:
        _draw_side_by_side(colors, max_tokens)
    with chat:
        _draw_chat(colors, max_tokens)


def _draw_header(colors: Colors) -> None:
    live = colors.slots[colors.live] if colors.live else None
    if live is None:
        st.warning("Nothing is live yet. `make run` deploys a first model.")
    else:
        st.markdown(f"Live is {MARK[live.color]} **{live.color}**, {live.title}")


def _draw_side_by_side(colors: Colors, max_tokens: int) -> None:
    with st.form("prompt", border=False):
        tiny = any("builtin:tiny" in slot.title for slot in colors.slots.values())
        prompt = st.text_input("Prompt for both colors", TINY_EXAMPLE if tiny else EXAMPLE)
        asked = st.form_submit_button("Ask both")
    columns = dict(zip(COLORS, st.columns(2), strict=True))
    places: dict[Color, Place] = {}
    for color, column in columns.items():
        slot = colors.slots[color]
        with column:
            st.subheader(f"{MARK[color]} {color}" + (" (live)" if slot.live else ""))
            st.caption(slot.title or "empty")
            figures = st.empty()
            places[color] = (st.empty(), figures)
    if asked and prompt.strip():
        st.session_state["beside"] = _ask_both(colors.slots, prompt, max_tokens, places)
    for color, shown in st.session_state.get("beside", {}).items():
        _draw_answer(shown, *places[color])
    for color in COLORS:
        if colors.slots[color].problem:
            places[color][0].info(colors.slots[color].problem)


def _ask_both(
    slots: dict[Color, Slot], prompt: str, max_tokens: int, places: dict[Color, Place]
) -> dict[Color, Answer]:
    """Send the prompt to both colors at the same time, each in a thread of its own. Only the
    calling thread draws.
    """
    shown = {color: Answer() for color, slot in slots.items() if slot.url}
    pieces: queue.Queue[tuple[Color, str | None]] = queue.Queue()

    def ask(color: Color) -> None:
        try:
            for text in answer(
                slots[color].url,
                [{"role": "user", "content": prompt}],
                max_tokens,
                shown[color].times,
            ):
                pieces.put((color, text))
        except GreenlightError as error:
            shown[color].error = str(error)
        except Exception as error:  # an exception in a thread would be lost
            shown[color].error = f"{type(error).__name__}: {error}"
        pieces.put((color, None))

    for color in shown:
        threading.Thread(target=ask, args=(color,), daemon=True).start()
    unfinished = set(shown)
    while unfinished:
        color, text = pieces.get()
        if text is None:
            unfinished.discard(color)
        else:
            shown[color].text += text
        _draw_answer(shown[color], *places[color])
    return shown


def _draw_answer(shown: Answer, text: DeltaGenerator, figures: DeltaGenerator) -> None:
    if shown.error:
        text.error(shown.error)
        return
    text.code(shown.text, language=None, wrap_lines=True)
    rate = shown.times.tokens_per_second
    with figures.container():
        ttft, speed, tokens = st.columns(3)
        ttft.metric(
            "TTFT, ms", f"{1000 * shown.times.ttft:.0f}" if shown.times.ttft is not None else "…"
        )
        speed.metric("tokens/s", f"{rate:.0f}" if rate else "…")
        tokens.metric("tokens", shown.times.tokens or "…")


def _draw_chat(colors: Colors, max_tokens: int) -> None:
    if not colors.endpoint:
        st.info("The stable endpoint is not open. `make run` deploys a first model.")
        return
    said: list[dict[str, str]] = st.session_state.setdefault("chat", [])
    for message in said:
        st.chat_message(message["role"]).text(message["content"])
    if prompt := st.chat_input("Message to the live model"):
        said.append({"role": "user", "content": prompt})
        st.chat_message("user").text(prompt)
        times = Times()
        with st.chat_message("assistant"):
            try:
                text = st.write_stream(answer(colors.endpoint, list(said), max_tokens, times))
            except GreenlightError as error:
                said.pop()
                st.error(str(error))
                return
            if times.ttft is not None:
                rate = (
                    f", {times.tokens_per_second:.0f} tokens/s" if times.tokens_per_second else ""
                )
                st.caption(f"TTFT {1000 * times.ttft:.0f} ms{rate}")
        said.append({"role": "assistant", "content": str(text)})


main()
