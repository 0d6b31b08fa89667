// Histogram of a quantity of the crystals, compared with the training data.
import { h, svg } from "./dom.js";
import { fixed } from "./format.js";
import { linear, quantile, ticks } from "./scale.js";

const WIDTH = 360;
const HEIGHT = 170;
const EDGE = { left: 8, right: 8, top: 10, bottom: 26 };
const MOST_BINS = 24;
const FEWEST_BINS = 8;

/** Return the share of the training data below `x`, from its 101 quantiles. */
export function shareBelow(quantiles, x) {
  if (x <= quantiles[0]) return x < quantiles[0] ? 0 : quantiles.lastIndexOf(quantiles[0]) / 100;
  if (x >= quantiles[100]) return 1;
  const above = quantiles.findIndex((q) => q > x);
  const [low, high] = [quantiles[above - 1], quantiles[above]];
  return (above - 1 + (x - low) / (high - low)) / 100;
}

/** Return bins of equal width over the values and most training data: {edges, shares, training}. */
export function bin(values, quantiles) {
  const known = quantiles ? [quantiles[1], quantiles[99]] : [];
  const low = Math.min(...values, ...known);
  const high = Math.max(...values, ...known);
  const count = Math.max(
    FEWEST_BINS,
    Math.min(MOST_BINS, Math.round(2 * Math.sqrt(values.length) + 4)),
  );
  const width = (high - low || 1) / count;
  const edges = Array.from({ length: count + 1 }, (_, i) => low + i * width);
  const shares = new Array(count).fill(0);
  for (const value of values)
    shares[Math.min(count - 1, Math.floor((value - low) / width))] += 1 / values.length;
  // The first and last bins also count everything beyond them, for both distributions.
  const cumulative = edges.map((edge, i) =>
    i === 0 ? 0 : i === count ? 1 : shareBelow(quantiles ?? [], edge),
  );
  const training = quantiles ? shares.map((_, i) => cumulative[i + 1] - cumulative[i]) : null;
  return { edges, shares, training };
}

/** Return a figure. quantiles: 101 of the training data, or null; distance: Wasserstein, or null. */
export function histogram({ title, unit, values, quantiles, distance = null }) {
  const { edges, shares, training } = bin(values, quantiles);
  const x = linear([edges[0], edges.at(-1)], [EDGE.left, WIDTH - EDGE.right]);
  const y = linear([0, Math.max(...shares, ...(training ?? []))], [HEIGHT - EDGE.bottom, EDGE.top]);
  const bars = shares.map((share, i) =>
    svg("rect", {
      class: "bar-made",
      x: x(edges[i]) + 0.75,
      width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 1.5),
      y: y(share),
      height: y(0) - y(share),
      rx: 1.5,
    }),
  );
  const marks = ticks(edges[0], edges.at(-1)).map((value) =>
    svg(
      "text",
      { class: "tick", x: x(value), y: HEIGHT - 8, "text-anchor": "middle" },
      String(value).replace("-", "−"),
    ),
  );
  const axis = svg("line", {
    class: "axis",
    x1: EDGE.left,
    x2: WIDTH - EDGE.right,
    y1: y(0),
    y2: y(0),
  });

  const median = quantile(values, 0.5);
  const sentence =
    `Median ${fixed(median)} ${unit}` +
    (quantiles ? `; training data ${fixed(quantiles[50])}` : "");
  return h(
    "figure",
    { class: "chart" },
    h(
      "figcaption",
      {},
      h("h2", {}, title, h("span", { class: "soft" }, ` (${unit})`)),
      h(
        "p",
        { class: "small soft number" },
        sentence,
        distance === null ? null : `. Wasserstein distance ${fixed(distance, 3)}`,
      ),
    ),
    svg(
      "svg",
      {
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        role: "img",
        "aria-label": `Histogram of the ${title.toLowerCase()}. ${sentence}.`,
      },
      bars,
      training ? outline(training, edges, x, y) : null,
      axis,
      marks,
    ),
    h(
      "p",
      { class: "key small soft" },
      h("span", { class: "swatch made" }),
      "valid crystals",
      training ? [h("span", { class: "swatch known" }), "training data"] : null,
    ),
  );
}

/** Return the training data as a stepped line. */
function outline(shares, edges, x, y) {
  const steps = shares.flatMap((share, i) => [
    `L${x(edges[i])} ${y(share)}`,
    `L${x(edges[i + 1])} ${y(share)}`,
  ]);
  return svg("path", {
    class: "line-known",
    d: `M${x(edges[0])} ${y(0)} ${steps.join(" ")} L${x(edges.at(-1))} ${y(0)}`,
  });
}
