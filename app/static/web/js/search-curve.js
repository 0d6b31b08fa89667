// Curve of an optimization: the property of the best crystal of each search, by move.
import { curve, keyEntry } from "./curve.js";
import { h } from "./dom.js";
import { fixed, spoken } from "./format.js";
import { quantile } from "./scale.js";

const MOST_LINES = 200;

/** Return the references {value, text}: the target, or the best 5, 10, 15 % of the training data. */
function marks({ direction, value }, quantiles) {
  if (direction === "target") return [{ value, text: "goal" }];
  if (!quantiles) return [];
  return [5, 10, 15].map((p) => ({
    value: quantiles[direction === "minimize" ? p : 100 - p],
    text: `best ${p} %`,
  }));
}

/** Return a figure of the records' trajectories, or null without any. */
export function searchCurve(request, records, unit, quantiles) {
  const paths = records.map((record) => record.trajectory).filter((path) => path?.length > 1);
  if (paths.length === 0) return null;
  const moves = Math.max(...paths.map((path) => path.length)) - 1;
  const across = Array.from({ length: moves + 1 }, (_, i) => i);
  const middle = across.map((i) =>
    quantile(
      paths.map((path) => path[Math.min(i, path.length - 1)]),
      0.5,
    ),
  );
  const points = (values) => values.map((value, i) => [i, value]);
  const references = marks(request, quantiles);
  const name = spoken(request.property);
  const [from, to] = [fixed(middle[0]), fixed(middle.at(-1))];
  const known = request.direction === "target" ? "goal" : "training data";
  return curve({
    title: `${name} during the search`,
    unit,
    sentence: `Median ${name.toLowerCase()} from ${from} to ${to} ${unit} in ${moves} moves`,
    across,
    lines: paths.slice(0, MOST_LINES).map(points),
    main: points(middle),
    references,
    key: [
      keyEntry("made", "median of all searches"),
      keyEntry("one", "one search"),
      references.length ? keyEntry("known", known) : null,
      h(
        "span",
        {},
        "Horizontal axis: moves. The property head reads the value from the re-encoded crystal; the gallery shows the property model's value.",
      ),
    ],
  });
}
