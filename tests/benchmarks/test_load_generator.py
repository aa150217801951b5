"""The comparison of the load generator with a server's own times, small."""

from pathlib import Path

from benchmarks.load_generator import __main__ as study
from benchmarks.load_generator import million


def test_every_request_is_compared_with_what_the_server_did() -> None:
    measured = study._measure(study.greenlight, 3, 12)
    assert 49 < measured.true["ttft_p50"] < 500 and 19 < measured.true["itl_p50"] < 200
    assert measured.off["ttft_p50"] > 0, "the way there and back takes time"
    assert abs(measured.off["itl_p50"]) < 20 and measured.cpu > 0


def test_a_client_measures_itself_against_every_request_of_the_server(tmp_path: Path) -> None:
    with study._server(tmp_path) as (url, log):
        times = study.greenlight(url, 2, 10, tmp_path)  # after two more, as always
        assert len(study._told(log, 10)) == len(times["ttft"]) == len(times["itl"]) == 10


def test_made_requests_have_the_columns_of_measured_ones() -> None:
    made = million.requests(100)
    assert made.num_rows == 100 and made.schema == million.schema_of(million.Request)
