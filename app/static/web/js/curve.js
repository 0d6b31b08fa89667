// Values along a way, each as a line, one of them the main one: searches move by move, walks by place.
import { h, svg } from "./dom.js";
import { linear, ticks } from "./scale.js";

const HEIGHT = 260;
const EDGE = { left: 52, right: 92, top: 14, bottom: 34 };
const HEADINGS = 28; // above the values, for what lies behind the lines
const PHONE = matchMedia("(max-width: 40rem)");
const MOST_DOTS = 60;

/** "−1.5" rather than "-1.5". */
const typeset = (value) => String(value).replace("-", "−");

/**
 * A figure.
 * title, unit, sentence: what it shows, and that in one sentence of numbers.
 * across: the marks below, ascending; the first and the last are the ends of the axis.
 * lines: thin ones, main: the thick one, each as points [x, value, dot?]; a dot is {title, isHollow}.
 * references: [{value, text}] to compare with; behind(x, top, bottom): what lies behind the lines,
 * with headings above `top`; key: the explanation below; room: the width that it is drawn for.
 */
export function curve({
  title,
  unit,
  sentence,
  across,
  lines = [],
  main,
  references = [],
  behind,
  key,
  room = 720,
}) {
  const width = PHONE.matches ? 300 : room;
  const top = EDGE.top + (behind ? HEADINGS : 0);
  const values = [
    ...[...lines, main].flat().map(([, value]) => value),
    ...references.map((one) => one.value),
  ];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const end = width - (references.length ? EDGE.right : EDGE.left / 2);
  const x = linear([across[0], across.at(-1)], [EDGE.left, end]);
  const y = linear([least, most], [HEIGHT - EDGE.bottom, top]);
  const path = (points) =>
    `M${points.map(([at, value]) => `${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("L")}`;
  const level = (kind, value) =>
    svg("line", { class: kind, x1: EDGE.left, x2: end, y1: y(value), y2: y(value) });
  const text = (attributes, words) => svg("text", { class: "tick", ...attributes }, words);
  return h(
    "figure",
    { class: room < 720 ? "chart" : "chart wide" },
    h(
      "figcaption",
      {},
      h("h2", {}, title, h("span", { class: "soft" }, ` (${unit})`)),
      h("p", { class: "small soft number" }, sentence),
    ),
    svg(
      "svg",
      { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `Curve. ${sentence}.` },
      ticks(least, most).map((value) => [
        level("grid", value),
        text({ x: EDGE.left - 8, y: y(value) + 4, "text-anchor": "end" }, typeset(value)),
      ]),
      across.map((at) => text({ x: x(at), y: HEIGHT - 14, "text-anchor": "middle" }, at)),
      apart(references, y).map(({ value, text: words, at }) => [
        level("reference", value),
        text({ x: end + 8, y: at + 4 }, words),
      ]),
      behind?.(x, top, HEIGHT - EDGE.bottom),
      lines.map((points) => svg("path", { class: "path", d: path(points) })),
      svg("path", { class: "path middle", d: path(main) }),
      main.length <= MOST_DOTS &&
        main
          .filter(([, , dot]) => dot)
          .map(([at, value, { title: name, isHollow }]) =>
            svg(
              "circle",
              { class: isHollow ? "spot hollow" : "spot", cx: x(at), cy: y(value), r: 4.5 },
              svg("title", {}, name),
            ),
          ),
    ),
    h("p", { class: "key small soft" }, key),
  );
}

/** The references with heights for their texts, moved apart where they would overlap. */
function apart(references, y) {
  const sorted = [...references].sort((a, b) => y(a.value) - y(b.value));
  let last = -Infinity;
  return sorted.map((one) => {
    last = Math.max(y(one.value), last + 14);
    return { ...one, at: last };
  });
}

/** A small mark of the key and what it stands for. */
export const keyEntry = (kind, words) => [h("span", { class: `swatch ${kind}` }), words];
