// Curve of a predicted property along an interpolation.
import { curve, keyEntry } from "./curve.js";
import { h, svg } from "./dom.js";
import { fixed, lowered, spoken } from "./format.js";
import { isValid } from "./record.js";

const ACROSS = [0, 0.2, 0.4, 0.6, 0.8, 1];
const LETTER = 7; // width in pixels, a generous average

/** Return the ranges of equal formula along the path: [{formula, from, to}]. */
function stretches(records) {
  const found = [];
  for (const { reduced_formula: formula, position } of records) {
    const last = found.at(-1);
    if (last?.formula === formula) last.to = position;
    else found.push({ formula, from: position, to: position });
  }
  return found;
}

/** Return each formula above its range, and lines between the ranges. */
function compositions(records) {
  const parts = stretches(records);
  const edges = parts.slice(1).map((part, i) => (parts[i].to + part.from) / 2);
  return (x, top, bottom) =>
    parts.map(({ formula }, i) => {
      const [left, right] = [x(edges[i - 1] ?? 0), x(edges[i] ?? 1)];
      const hasRoom = right - left >= LETTER * formula.length;
      const place = { x: (left + right) / 2, y: top - 14, "text-anchor": "middle" };
      return [
        i > 0 && svg("line", { class: "border", x1: left, x2: left, y1: top - 24, y2: bottom }),
        hasRoom && svg("text", { class: "tick", ...place }, lowered(formula)),
      ];
    });
}

/** Return a figure of a property, or null if fewer than two records have it; isAlone: uses the row. */
export function walkCurve(property, records, unit, isAlone) {
  const known = records
    .filter((record) => Number.isFinite(record.predicted[property]))
    .sort((a, b) => a.position - b.position);
  if (known.length < 2) return null;
  const name = spoken(property);
  const value = (record) => fixed(record.predicted[property]);
  const [from, to] = [known[0], known.at(-1)].map(
    (record) => `${value(record)} (${record.reduced_formula})`,
  );
  return curve({
    title: `${name} along the path`,
    unit,
    room: isAlone ? 1000 : 520,
    sentence: `Predicted ${name.toLowerCase()} from ${from} to ${to} ${unit} in ${known.length} crystals`,
    across: ACROSS,
    main: known.map((record) => [
      record.position,
      record.predicted[property],
      {
        title: `${record.reduced_formula} at ${fixed(record.position)}: ${value(record)} ${unit}`,
        isHollow: !isValid(record),
      },
    ]),
    behind: compositions(known),
    key: [
      keyEntry("made", "a crystal"),
      known.every(isValid) ? null : keyEntry("hollow", "not valid"),
      h("span", {}, "Horizontal axis: position between the first crystal (0) and the second (1)."),
    ],
  });
}
