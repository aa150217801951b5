"""The report's charts outside its page."""

from greenlight.report.charts import objectives_chart
from greenlight.report.notebook_charts import drawn
from tests.report.run_factory import passing


def test_the_colors_of_the_page_are_filled_in() -> None:
    figure = drawn(objectives_chart(passing()), "Objectives")
    text = figure.to_json()
    assert "var(" not in text and "#1a7f37" in text
    assert figure.layout.title.text == "Objectives" and len(figure.data[0].x) == len(passing())
