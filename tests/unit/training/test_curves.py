from __future__ import annotations

import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from training.checkpoint import Epoch
from training.curves import draw

HISTORY = [
    Epoch(1.3, 0.95, 1.0, 0.1),
    Epoch(0.94, 0.81, 1.0, 0.1),
    Epoch(0.9, 0.83, 1.0, 0.1),
]
EVALUATION = {
    "rmse": 0.82,
    "baseline_global_mean": 1.1165,
    "baseline_item_mean": 0.9214,
    "baseline_biases": 0.9204,
}


@pytest.fixture
def figure() -> Figure:
    return draw(HISTORY, 1, EVALUATION)


def line(figure: Figure, label: str) -> Line2D:
    (axes,) = figure.axes
    (found,) = (each for each in axes.lines if str(each.get_label()).startswith(label))
    return found


def test_one_panel_has_the_rmse_of_every_epoch(figure: Figure) -> None:
    for label, rmse in (("train", [1.3, 0.94, 0.9]), ("validation", [0.95, 0.81, 0.83])):
        assert list(line(figure, label).get_xdata()) == [1, 2, 3]
        assert list(line(figure, label).get_ydata()) == rmse


def test_the_legend_says_why_train_and_validation_are_not_comparable(figure: Figure) -> None:
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert "train, attributes hidden at random" in labels
    assert "validation, all attributes known" in labels
    assert "Do not compare" in figure.axes[0].get_title()


def test_the_best_epoch_is_marked(figure: Figure) -> None:
    best = line(figure, "best epoch: 2, validation 0.8100")
    assert (list(best.get_xdata()), list(best.get_ydata())) == ([2], [0.81])


def test_every_baseline_is_a_dashed_line_with_a_label(figure: Figure) -> None:
    (axes,) = figure.axes
    dashed = {each.get_ydata()[0] for each in axes.lines if each.get_linestyle() == "--"}
    assert dashed == {1.1165, 0.9214, 0.9204}
    labels = {text.get_text() for text in axes.texts}
    assert {
        "mean of all ratings: 1.1165",
        "mean of the movie: 0.9214",
        "biases of user and movie: 0.9204",
    } <= labels


def test_no_text_overlaps_another_or_leaves_the_picture_of_1000_by_600(figure: Figure) -> None:
    figure.canvas.draw()
    (axes,) = figure.axes
    assert (figure.bbox.width, figure.bbox.height) == (1000, 600)
    boxes = [text.get_window_extent() for text in (*axes.texts, axes.title)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not [
        (one, other)
        for number, one in enumerate(boxes)
        for other in boxes[:number]
        if one.overlaps(other)
    ]
