"""Figures draw the given numbers, show names literally, and stay small as files."""

import io

import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images

from jaxdl import plots

NAMES = [r"$\frac{1$", "_hidden", "猫", "a\tb", "100 %", "<b>", "{x}", "\\alpha"]


@pytest.fixture(scope="module")
def digits():
    return (load_digits().images[:20] / 16).astype(np.float32)[..., None]


@pytest.fixture(scope="module")
def photograph():
    return (load_sample_images().images[0] / 255).astype(np.float32)


def png(figure):
    """Draw the figure in full; a warning, such as of a missing glyph, is an error here."""
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return buffer.getvalue()


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_learning_curves_draw_every_run_metric_and_split():
    x = np.arange(5.0)
    runs = {
        name: {"loss (nats)": {"train": (x, a / (1 + x)), "dev": (x, x + a)}, "accuracy (%)": {"dev": (x, a * x)}}
        for name, a in (("adam", 1.0), ("sgd", 2.0))
    }
    figure = plots.learning_curves(runs)
    axes = np.reshape(figure.axes, (2, 2))
    assert [a.get_ylabel() for a in axes[:, 0]] == ["loss (nats)", "accuracy (%)"]
    assert [a.get_title() for a in axes[0]] == ["train", "dev"]
    assert [len(a.lines) for a in axes.ravel()] == [2, 2, 0, 2]
    np.testing.assert_array_equal(axes[0, 0].lines[1].get_xydata(), np.stack([x, 2 / (1 + x)], 1))
    np.testing.assert_array_equal(axes[1, 1].lines[0].get_ydata(), x)
    assert axes[1, 1].get_xlabel() == "epoch"
    assert legend(figure) == ["adam", "sgd"]
    png(figure)


def test_splits_can_share_a_panel_in_fine_and_broad_lines_of_one_colour():
    x = np.arange(5.0)
    runs = {
        name: {"loss": {"train": (x, x + a), "dev": (x, x - a)}, "accuracy": {"dev": (x, a * x)}}
        for name, a in (("adam", 1.0), ("sgd", 2.0))
    }
    figure = plots.learning_curves(runs, together=True)
    loss, accuracy = figure.axes
    assert [line.get_label() for line in loss.lines] == ["adam, train", "sgd, train", "adam, dev", "sgd, dev"]
    assert [len(accuracy.lines), loss.get_ylabel()] == [2, "loss"]
    np.testing.assert_array_equal(loss.lines[3].get_ydata(), x - 2)
    assert loss.lines[1].get_color() == loss.lines[3].get_color() == plots.COLORS[1]
    assert loss.lines[0].get_linewidth() < loss.lines[2].get_linewidth()
    assert legend(figure) == [line.get_label() for line in loss.lines]
    assert {line.get_marker() for line in loss.lines[:2]} == {""}
    png(figure)


def test_a_fine_line_of_one_point_is_seen():
    one = (np.ones(1), np.ones(1))
    (axes,) = plots.learning_curves({"adam": {"loss": {"train": one, "dev": one}}}, together=True).axes
    assert [line.get_marker() for line in axes.lines] == ["o", "o"]


def test_a_run_that_lacks_a_split_keeps_its_style():
    x = np.arange(5.0)
    figure = plots.learning_curves({"a": {"loss": {"train": (x, x)}}, "b": {"loss": {"dev": (x, x)}}})
    assert figure.axes[1].lines[0].get_color() == plots.COLORS[1]
    with pytest.raises(ValueError, match="runs must hold at least one curve"):
        plots.learning_curves({})


def test_equal_curves_all_remain_visible():
    x = np.linspace(0, 10, 200)
    figure = plots.curves(dict.fromkeys("abc", (x, x)), xlabel="epoch", ylabel="loss (nats)")
    pixels = Image.open(io.BytesIO(png(figure))).convert("RGB")
    drawn = np.asarray(pixels.crop((0, 60, *pixels.size))).reshape(-1, 3).astype(int)  # below the legend
    pale = 255 - 0.45 * (255 - np.array([0x00, 0x72, 0xB2]))
    for color in (pale, np.array([0xD5, 0x5E, 0x00]), np.array([0x00, 0x9E, 0x73])):
        assert (np.abs(drawn - color).max(1) < 12).sum() > 200


@pytest.mark.parametrize(("values", "scale"), [([100, 1], "log"), ([10, 1], "linear"), ([100, 0], "linear")])
def test_the_axis_is_logarithmic_over_orders_of_magnitude(values, scale):
    y = jnp.array([*values, jnp.nan])
    figure = plots.curves({"a": (jnp.arange(3), y)}, xlabel="step", ylabel="loss (nats)", title="run")
    assert figure.axes[0].get_yscale() == scale
    png(figure)


def test_the_confusion_matrix_shows_counts_and_shares():
    counts = np.array([[8, 2, 0], [0, 5, 0], [0, 0, 0]])
    figure = plots.confusion_matrix(counts, ["a", "b", "c"], title="adam")
    axes, bar = figure.axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (1, 1): "5"}  # (column, row)
    np.testing.assert_allclose(axes.images[0].get_array(), [[80, 20, 0], [0, 100, 0], [0, 0, 0]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b", "c"]
    assert bar.get_ylabel() == "share of the true class (%)"
    with pytest.raises(ValueError, match="classes must hold 3 names, one per row of counts, got 2"):
        plots.confusion_matrix(counts, ["a", "b"])


def test_a_hundred_classes_name_every_third():
    names = [f"class {i}" for i in range(100)]
    axes = plots.confusion_matrix(np.eye(100, dtype=int), names).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == names[::3]
    assert axes.get_xlabel() == "predicted class, every 3rd named"
    assert not axes.texts


def test_an_image_grid_shows_the_images(digits, photograph):
    cells = plots.image_grid(digits, [f"{i}" for i in range(20)], columns=8).axes
    shown = [cell for cell in cells if cell.get_visible()]
    assert (len(cells), len(shown)) == (24, 20)
    np.testing.assert_array_equal(shown[3].images[0].get_array(), digits[3, ..., 0])
    assert shown[3].get_title() == "3"
    color = plots.image_grid(photograph[None] * 2 - 0.5, ["clipped"]).axes[0].images[0].get_array()
    np.testing.assert_array_equal(color, np.clip(photograph * 2 - 0.5, 0, 1))
    two = plots.image_grid(np.stack([digits[:1, ..., 0], digits[1:2, ..., 0]], -1), ["mean"])
    np.testing.assert_allclose(two.axes[0].images[0].get_array(), (digits[0, ..., 0] + digits[1, ..., 0]) / 2)
    with pytest.raises(ValueError, match="captions must be one per image"):
        plots.image_grid(digits, ["one"])


def test_filters_share_one_symmetric_scale(photograph):
    kernels = photograph[:40, :5, :1].reshape(5, 5, 1, 8) - 0.75
    *cells, bar = plots.filters(kernels).axes
    assert len(cells) == 8
    np.testing.assert_array_equal(cells[6].images[0].get_array(), kernels[:, :, 0, 6])
    largest = float(np.abs(kernels).max())
    assert all(cell.images[0].get_clim() == (-largest, largest) for cell in cells)
    assert bar.get_xlabel() == "weight (no unit)"


def test_filters_on_three_channels_are_colours():
    kernels = np.zeros((1, 1, 3, 2), np.float32)
    kernels[0, 0, :, 1] = [2, -2, 1]
    cells = plots.filters(kernels).axes
    np.testing.assert_allclose([c.images[0].get_array()[0, 0] for c in cells], [[0.5] * 3, [1, 0, 0.75]])


def test_filters_on_many_channels_are_rows_of_channels():
    kernels = np.arange(2 * 2 * 64 * 96, dtype=np.float32).reshape(2, 2, 64, 96)
    figure = plots.filters(jnp.asarray(kernels))
    cells = figure.axes[:-1]
    assert len(cells) == 64  # 8 input channels of 8 filters
    np.testing.assert_array_equal(cells[8 * 2 + 5].images[0].get_array(), kernels[:, :, 2, 5])
    assert "8 of 96 filters, 2 × 2 pixels each" in figure.get_supxlabel()
    assert "input channels 0 to 7 of 64" in figure.get_supxlabel()


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("weight", [0.0, np.nan, np.inf])
def test_dead_and_broken_filters_are_drawn(channels, weight):
    figure = plots.filters(np.full((3, 3, channels, 1), weight, np.float32))
    png(figure)
    panels = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(panels) == (1 if channels == 3 else channels)
    for panel in panels:  # a weight of 0 is grey among colours
        np.testing.assert_array_equal(panel, np.full(panel.shape, 0.5 if channels == 3 else 0.0))


def test_names_are_drawn_literally(digits):
    counts = np.eye(len(NAMES), dtype=int)
    x = np.arange(3.0)
    figures = [
        plots.confusion_matrix(counts, NAMES, title=NAMES[0]),
        plots.image_grid(digits[:8], [f"{name}\n{name}" for name in NAMES], title=NAMES[0], note=NAMES[2]),
        plots.curves(dict.fromkeys(NAMES, (x, x)), xlabel="x", ylabel="y", title=NAMES[0]),
        plots.learning_curves({name: {"loss": {"train": (x, x)}} for name in NAMES}),
    ]
    for figure in figures:
        png(figure)
    assert len(legend(figures[2])) == len(NAMES)
    assert legend(figures[2])[:3] == [r"\$\frac{1\$", " _hidden", r"\u732b"]


def test_a_long_name_is_cut():
    assert plots.shorten("convolution", 5) == "conv…"
    assert plots.shorten("conv", 4) == "conv"


@pytest.mark.slow
def test_a_file_is_small_whatever_it_shows(photograph, tmp_path):
    rng = np.random.default_rng(0)
    crops = [photograph[t : t + 224, s : s + 224] for t, s in rng.integers((200, 410), size=(24, 2))]
    figure = plots.image_grid(np.stack(crops), ["photograph"] * 24)
    path = plots.save(figure, tmp_path / "a.png")
    assert len(png(figure)) > 200_000 > path.stat().st_size
    with Image.open(path) as image:
        assert min(image.size) > 300
    assert plots.save(figure, tmp_path / "b.png").read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="limit must leave room"):
        plots.save(figure, tmp_path / "c.png", limit=100)
    assert not (tmp_path / "c.png").exists()


def test_figures_leave_matplotlibs_global_state_alone():
    before = dict(matplotlib.rcParams)
    figure = plots.curves({"a": (np.arange(3), np.arange(3))}, xlabel="x", ylabel="y")
    assert isinstance(figure, Figure)
    assert dict(matplotlib.rcParams) == before


def test_an_animation_shows_its_frames_in_order_and_stays_small():
    def frame(i):
        figure = Figure(figsize=(2, 2))
        figure.subplots().plot([0, i], [0, 1])
        return figure

    figures = [frame(i) for i in range(1, 5)]
    encoded = plots.animation(figures, seconds=0.05)
    assert encoded == plots.animation(figures, seconds=0.05)
    image = Image.open(io.BytesIO(encoded), formats=["GIF"])
    assert (image.n_frames, image.size, image.info["loop"]) == (4, (240, 240), 0)
    durations = []
    for i in range(4):
        image.seek(i)
        durations.append(image.info["duration"])
    assert durations == [50, 50, 50, 500]
    size = Image.open(io.BytesIO(plots.animation(figures, limit=len(encoded) - 1)), formats=["GIF"]).size
    assert size < (240, 240)
    with pytest.raises(ValueError, match="limit must leave room"):
        plots.animation(figures, limit=10)
    with pytest.raises(ValueError, match="at least one figure"):
        plots.animation([])
