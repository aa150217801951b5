"""What the libraries printed while they quantized a model of 12 layers, as the log held it."""

from pathlib import Path

import pytest

from greenlight.core.child_progress import TAIL_BYTES, newest_bar, progress_in

LOADING = (
    "Loading weights:   0%|          | 0/111 [00:00<?, ?it/s]\rLoading weights:  77%|███████▋  |"
    " 85/111 [00:03<00:01, 20.93it/s]\rLoading weights:  79%|███████▉  | 88/111 [00:03<00:01,"
    " 17.19it/s]"
)
LOADED = "\rLoading weights: 100%|██████████| 111/111 [00:05<00:00, 21.91it/s]\n"
CALIBRATED = (
    "(4/13): Calibrating:  75%|███████▌  | 6/8 [00:00<00:00, 21.69it/s]\r(4/13): Calibrating:"
    " 100%|██████████| 8/8 [00:00<00:00, 21.29it/s]\n2026-11-27T11:04:29.4011 |"
    " compress_module_list | INFO - Quantizing 1 module(s):"
    " ['model.layers.2.self_attn.q_proj']\n2026-11-27T11:04:29.5461 | GPTQ | METRIC - time"
    " 0.14s\n2026-11-27T11:04:29.5463 | GPTQ | METRIC - error 41.00\n"
)
COMPRESSING = (
    "Compressing model:  89%|████████▉ | 75/84 [00:01<00:00, 65.54it/s]\rCompressing model: "
    " 98%|█████████▊| 82/84 [00:01<00:00, 64.78it/s]"
)
RICH = (
    "\x1b[?25lApplying Weight Compression \x1b[90m━━━━━━━━━━━━\x1b[0m \x1b[35m  0%\x1b[0m •"
    " \x1b[36m0:00:00\x1b[0m • \x1b[36m-:--:--\x1b[0m\r\x1b[2KApplying Weight Compression"
    " \x1b[91m━━━\x1b[0m\x1b[90m╺\x1b[0m\x1b[90m━━━\x1b[0m \x1b[35m 39%\x1b[0m •"
    " \x1b[36m0:00:01\x1b[0m • \x1b[36m0:00:02\x1b[0m\r"
)
NNCF = (
    "INFO:nncf:Statistics of the bitwidth distribution:\n│ int8_asym, per-channel    │ 39% (2 / 87)"
    "                │ 0% (0 / 84)     │\n"
)


@pytest.mark.parametrize(
    ("printed", "says"),
    [
        ("", ""),
        ("Could not infer whether the model was already converted or not\n", ""),
        (LOADING, "loading weights, 88 of 111"),
        (LOADING + LOADED, ""),
        (LOADING + LOADED + "`loss_type=None` was set in the config\n", ""),
        (LOADING + LOADED + CALIBRATED, "calibrating, layer 4 of 13"),
        (
            CALIBRATED + "\r(4/13): Propagating:  50%|█████     | 4/8 [00:00<00:00, 4.1it/s]",
            "propagating, layer 4 of 13",
        ),
        (CALIBRATED + COMPRESSING, "compressing model, 82 of 84"),
        (COMPRESSING[:-30], "compressing model, 75 of 84"),  # a line that is not complete yet
        (NNCF, ""),
        (NNCF + RICH, "applying weight compression, 39%"),
        (NNCF + "Applying Weight Compression ━━━━━━━━━━━━━━━━ 100% • 0:00:07 • 0:00:00\n", ""),
    ],
)
def test_newest_bar(printed: str, says: str) -> None:
    assert newest_bar(printed) == says


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_bytes(b"")
    assert progress_in(log) == ""
    log.write_text(LOADING + "\n" + "█" * TAIL_BYTES)  # cut within a character
    assert progress_in(log) == ""
    log.write_text("x" * TAIL_BYTES + "\n" + LOADING)
    assert progress_in(log) == "loading weights, 88 of 111"
