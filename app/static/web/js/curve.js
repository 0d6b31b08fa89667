// Line charts with one main line: searches by move, interpolations by position.
import { h, svg } from "./dom.js";
import { linear, ticks } from "./scale.js";

const HEIGHT = 260;
const EDGE = { left: 52, right: 92, top: 14, bottom: 34 };
const HEADINGS = 28; // height above the values for the headings of the background
const PHONE = matchMedia("(max-width: 40rem)");
const MOST_DOTS = 60;

/** Return a number with a true minus sign: "−1.5" instead of "-1.5". */
const typeset = (value) => String(value).replace("-", "−");

/**
 * Return a figure.
 * sentence: the content in one sentence.
 * across: the ticks of the x axis, ascending; the first and the last are its ends.
 * lines, main: the thin lines and the thick one, as points [x, value, dot?]; dot: {title, isHollow}.
 * references: horizontal lines [{value, text}]; behind(x, top, bottom): returns the background,
 * with headings above `top`; key: the legend below; room: the width in pixels.
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

/** Return the references with heights for their texts, moved apart where they would overlap. */
function apart(references, y) {
  const sorted = [...references].sort((a, b) => y(a.value) - y(b.value));
  let last = -Infinity;
  return sorted.map((one) => {
    last = Math.max(y(one.value), last + 14);
    return { ...one, at: last };
  });
}

/** Return a mark of the legend with its meaning. */
export const keyEntry = (kind, words) => [h("span", { class: `swatch ${kind}` }), words];
