// A summary of a model's card: limits and measured quality.
import { h } from "./dom.js";
import { SYMBOLS, place } from "./elements.js";
import { cellSize, fixed, percent, spoken, whole } from "./format.js";

/** Return a panel about a model. */
export function modelPanel(card) {
  const { limits, data, quality } = card;
  const facts = [
    ["Trained on", `${whole(data.train ?? 0)} crystals of ${card.dataset}`],
    ["Atoms per cell", cellSize(limits)],
    ["Elements", whole(limits.elements.length)],
    ...measured(quality),
  ];
  return h(
    "section",
    { class: "card stack", "aria-label": `Model ${card.name}` },
    h(
      "div",
      { class: "row" },
      h("h2", {}, card.name),
      h("span", { class: "soft small" }, `version ${card.version}`),
    ),
    h("p", { class: "soft" }, `${card.description}.`),
    h(
      "dl",
      { class: "facts" },
      facts.map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", { class: "number" }, value)),
      ),
    ),
    periodicTable(limits.elements),
  );
}

/** Return a row for each metric on the card. */
function measured({ reconstruction, generation, optimization, property_model }) {
  const rows = [];
  if (reconstruction)
    rows.push([
      "Reconstructs",
      `${percent(reconstruction.match_rate)}, RMSE ${fixed(reconstruction.rmse, 4)}`,
    ]);
  if (generation)
    rows.push([
      "Generates",
      `${percent(generation.validity)} valid, ${percent(generation.novelty)} new`,
    ]);
  if (optimization?.success_rate)
    rows.push(["Optimizes", `${percent(optimization.success_rate["5"])} reach the best 5 %`]);
  for (const [name, { mae, unit }] of Object.entries(property_model ?? {}))
    rows.push([spoken(name), `mean error ${fixed(mae, 3)} ${unit}`]);
  return rows;
}

/** Return a periodic table with the supported elements filled in; screen readers get one sentence. */
function periodicTable(elements) {
  const known = new Set(elements);
  const cells = SYMBOLS.map((symbol, index) => {
    const { row, column } = place(index + 1);
    const cell = h(
      "span",
      { class: known.has(symbol) ? "element known" : "element", title: symbol },
      symbol,
    );
    cell.style.gridArea = `${row} / ${column}`;
    return cell;
  });
  return h(
    "div",
    {
      class: "periodic",
      role: "img",
      "aria-label": `${elements.length} supported elements: ${elements.join(", ")}`,
    },
    cells,
  );
}
