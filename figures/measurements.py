"""Pictures of what `figures.analysis` measures."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import matplotlib.figure as figures
import numpy as np
from matplotlib.ticker import NullFormatter

from figures.style import COLOURS, MARKERS, curve_style, new_figure


def plot_gradients(gradients: Mapping[str, Mapping[str, Any]]) -> figures.Figure:
    """Draw what `analysis.watch_gradients` returns, by the nets' names."""
    figure = new_figure(12, 4.2)
    before, after = figure.subplots(1, 2, sharey=True)
    for number, (name, measured) in enumerate(gradients.items()):
        for axes, key in ((before, "before"), (after, "after")):
            loss, sizes = measured[key]
            layers, label = np.arange(1, len(sizes) + 1), f"{name}: loss {loss:.2f}"
            axes.plot(layers, sizes, label=label, linewidth=2, **curve_style(number))
        steps = measured["steps"]
    for axes, title in ((before, "at initialisation"), (after, f"after {steps} steps")):
        axes.set_title(title)
        axes.set_yscale("log")
        axes.set_xlabel("convolution, from the image to the logits")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    before.set_ylabel("gradient / weight, norms")
    return figure


def plot_survival(probabilities: np.ndarray, alive: np.ndarray) -> figures.Figure:
    """Draw survival probabilities beside `analysis.live_blocks`: which blocks each step ran."""
    figure = new_figure(12, 4.2)
    bars, raster = figure.subplots(1, 2, sharey=True, width_ratios=[1, 2.6])
    blocks, steps = alive.shape
    numbers = np.arange(1, blocks + 1)
    bars.barh(numbers, 100 * probabilities, height=1, color=COLOURS[5], label="probability")
    bars.plot(100 * alive.mean(axis=1), numbers, "o", color="black", markersize=3, label="drawn")
    bars.set_xlabel("survival, % of steps")
    bars.set_ylabel("residual block")
    bars.set_xlim(0, 100)
    bars.legend(fontsize="small", loc="upper left", framealpha=0.9)
    extent = (0.5, steps + 0.5, 0.5, blocks + 0.5)
    raster.imshow(alive, aspect="auto", origin="lower", cmap="Blues", vmax=1.4, extent=extent)
    raster.set_xlabel("mini-batch")
    raster.set_title(f"dark: the block ran; on average {alive.sum(axis=0).mean():.1f} of {blocks}")
    return figure


def plot_step_times(counts: Sequence[int], seconds: np.ndarray, expected: float) -> figures.Figure:
    """Draw `analysis.step_seconds` of so many live blocks, with a line and the expected number."""
    figure = new_figure(8, 4)
    axes = figure.subplots()
    medians = 1000 * np.median(seconds, axis=1)
    slope, start = np.polyfit(counts, medians, 1)
    ends = np.array([0, max(counts)])
    axes.plot(ends, start + slope * ends, color=COLOURS[5], label=f"{slope:.2f} ms a block")
    for repeat in seconds.T:
        axes.plot(counts, 1000 * repeat, ".", color="#999999", markersize=4)
    axes.plot(counts, medians, MARKERS[0], color=COLOURS[0], label="median step")
    share = (start + slope * expected) / (start + slope * max(counts))
    axes.axvline(
        expected,
        color=COLOURS[1],
        linestyle="--",
        label=f"expected: {expected:.2f} blocks, {100 * share:.0f} % of the time",
    )
    axes.set_xlabel("live blocks")
    axes.set_ylabel("training step, ms")
    axes.set_ylim(0, 1.15 * medians.max())
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def plot_connections(sizes: Mapping[str, np.ndarray]) -> figures.Figure:
    """Draw parameters against channels read: `analysis.convolution_sizes` by the nets' names."""
    figure = new_figure(8, 4.4)
    axes = figure.subplots()
    channels = np.array([16, 512])
    for number, (name, rows) in enumerate(sizes.items()):
        # The first convolution reads colours, whatever the net.
        look = {"color": COLOURS[number], "marker": MARKERS[number], "linestyle": ""}
        total = f"{name}: {rows[:, 1].sum() / 1e6:.2f} M in {len(rows)} convolutions"
        axes.plot(*rows[1:].T, markersize=6, alpha=0.7, label=total, **look)
    axes.plot(channels, 9 * channels**2, color="black", linewidth=1, label="9 · C · C")
    axes.plot(channels, 9 * channels * 12, "k--", linewidth=1, label="9 · C · k, k = 12")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(2 ** np.arange(4, 10), [str(2**power) for power in range(4, 10)])
    axes.set_xlabel("channels that the convolution reads, C")
    axes.set_ylabel("its parameters")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure


def plot_models(models: Mapping[str, tuple[int, float]]) -> figures.Figure:
    """Draw published errors against parameters: `analysis.published_models`."""
    figure = new_figure(11, 5.4)
    axes = figure.subplots()
    plain = [name for name in models if name.startswith("resnet") and not name.endswith("_sd")]
    families = {
        "DenseNet": [name for name in models if name.startswith("densenet") and "bc" not in name],
        "DenseNet-BC": [name for name in models if "bc" in name],
        "ResNet": [name for name in plain if name != "resnet164"],
        "ResNet, stochastic depth": [name for name in models if name.endswith("_sd")],
        "ResNet, pre-activation": ["resnet164"],
        "ResNet, squeeze-and-excitation": [name for name in models if name.startswith("se_")],
    }
    for number, (family, names) in enumerate(families.items()):
        points = np.array(sorted(models[name] for name in names))
        look = {**curve_style(number), "marker": MARKERS[number]}
        if number == len(families) - 1:
            look["linestyle"] = ""
        axes.plot(points[:, 0] / 1e6, points[:, 1], markersize=8, label=family, **look)
        for name in names:
            short = name.replace("densenet", "").replace("resnet", "").strip("_")
            parameters, error = models[name]
            place = {"xytext": (7, -11 if "se_" in name else 5), "textcoords": "offset points"}
            axes.annotate(short, (parameters / 1e6, error), fontsize=8, **place)
    axes.set_xscale("log")
    axes.set_xticks([0.3, 1, 3, 10, 30], ["0.3", "1", "3", "10", "30"])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(right=45)
    axes.set_xlabel("parameters, millions")
    axes.set_ylabel("CIFAR-10 test error, % (papers)")
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def plot_bars(panels: Mapping[str, Mapping[str, Mapping[str, float]]]) -> figures.Figure:
    """Draw groups of bars, each with its number.

    Parameters
    ----------
    panels : mapping
        Label of the axis, to name of the group, to name of the bar, to its height.
    """
    figure = new_figure(5.5 * len(panels) + 1, 3.8)
    row = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, groups) in zip(row, panels.items()):
        names = list(dict.fromkeys(name for group in groups.values() for name in group))
        width = 0.8 / len(names)
        for number, name in enumerate(names):
            places = np.arange(len(groups)) + (number - (len(names) - 1) / 2) * width
            heights = [group.get(name, np.nan) for group in groups.values()]
            colour = COLOURS[number % len(COLOURS)]
            bars = axes.bar(places, heights, 0.92 * width, label=name, color=colour)
            axes.bar_label(bars, fmt="{:.3g}".format, fontsize=8, padding=2)
        axes.set_xticks(range(len(groups)), groups)
        axes.set_ylabel(label)
        axes.margins(y=0.15)
        if len(names) > 1:
            axes.legend(fontsize="small")
    return figure
