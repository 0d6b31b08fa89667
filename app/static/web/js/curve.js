// An optimisation as a curve: the property of the best crystal so far of every search, move by move.
import { h, svg } from "./dom.js";
import { fixed, spoken } from "./format.js";
import { linear, quantile, ticks } from "./scale.js";

const WIDTH = 720;
const HEIGHT = 260;
const EDGE = { left: 52, right: 92, top: 14, bottom: 34 };
const MOST_LINES = 200;

/** What to compare with: {value, text} of the goal or of the best 5, 10, 15 % of the training data. */
function marks({ direction, value }, quantiles) {
  if (direction === "target") return [{ value, text: "goal" }];
  if (!quantiles) return [];
  return [5, 10, 15].map((p) => ({
    value: quantiles[direction === "minimize" ? p : 100 - p],
    text: `best ${p} %`,
  }));
}

/** A figure of the records' trajectories, or null where there is none. */
export function curve(request, records, unit, quantiles) {
  const paths = records.map((record) => record.trajectory).filter((path) => path?.length > 1);
  if (paths.length === 0) return null;
  const moves = Math.max(...paths.map((path) => path.length)) - 1;
  const middle = Array.from({ length: moves + 1 }, (_, i) =>
    quantile(
      paths.map((path) => path[Math.min(i, path.length - 1)]),
      0.5,
    ),
  );
  const references = marks(request, quantiles);
  const all = [...paths.flat(), ...references.map((mark) => mark.value)];
  const x = linear([0, moves], [EDGE.left, WIDTH - EDGE.right]);
  const y = linear([Math.min(...all), Math.max(...all)], [HEIGHT - EDGE.bottom, EDGE.top]);
  const path = (values) =>
    `M${values.map((value, i) => `${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`;

  const name = spoken(request.property);
  const sentence = `Median ${name.toLowerCase()} from ${fixed(middle[0])} to ${fixed(middle.at(-1))} ${unit} in ${moves} moves`;
  return h(
    "figure",
    { class: "chart wide" },
    h(
      "figcaption",
      {},
      h("h2", {}, `${name} during the search`, h("span", { class: "soft" }, ` (${unit})`)),
      h("p", { class: "small soft number" }, sentence),
    ),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Curve. ${sentence}.` },
      ticks(Math.min(...all), Math.max(...all)).map((value) => [
        svg("line", {
          class: "grid",
          x1: EDGE.left,
          x2: WIDTH - EDGE.right,
          y1: y(value),
          y2: y(value),
        }),
        svg(
          "text",
          { class: "tick", x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" },
          String(value).replace("-", "−"),
        ),
      ]),
      Array.from({ length: moves + 1 }, (_, i) =>
        svg("text", { class: "tick", x: x(i), y: HEIGHT - 14, "text-anchor": "middle" }, i),
      ),
      apart(references, y).map(({ value, text, at }) => [
        svg("line", {
          class: "reference",
          x1: EDGE.left,
          x2: WIDTH - EDGE.right,
          y1: y(value),
          y2: y(value),
        }),
        svg("text", { class: "tick", x: WIDTH - EDGE.right + 8, y: at + 4 }, text),
      ]),
      paths.slice(0, MOST_LINES).map((values) => svg("path", { class: "path", d: path(values) })),
      svg("path", { class: "path middle", d: path(middle) }),
    ),
    h(
      "p",
      { class: "key small soft" },
      h("span", { class: "swatch made" }),
      "median of all searches",
      h("span", { class: "swatch one" }),
      "one search",
      references.length
        ? [
            h("span", { class: "swatch known" }),
            request.direction === "target" ? "goal" : "training data",
          ]
        : null,
      h(
        "span",
        {},
        "Across: moves. The value is the model's own, read from the crystal decoded and encoded again; the gallery has that of the independent model.",
      ),
    ),
  );
}

/** The marks with heights for their texts, moved apart where they would overlap. */
function apart(references, y) {
  const sorted = [...references].sort((a, b) => y(a.value) - y(b.value));
  let last = -Infinity;
  return sorted.map((mark) => {
    last = Math.max(y(mark.value), last + 14);
    return { ...mark, at: last };
  });
}
