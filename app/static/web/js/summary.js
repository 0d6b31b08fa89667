// A finished job in numbers: rates in tiles, distributions and the search as charts.
import { curve } from "./curve.js";
import { h } from "./dom.js";
import { fixed, percent, spoken } from "./format.js";
import { histogram } from "./histogram.js";

const RATES = [
  ["validity", "Valid", "Structure and composition pass"],
  ["structure_validity", "Structure valid", "No contact below 0.5 Å"],
  ["composition_validity", "Composition valid", "Charges balance (SMACT)"],
  ["uniqueness", "Unique", "Repeat no earlier one"],
  ["novelty", "New", "Not in the training data"],
];
const FEWEST = 4; // crystals; fewer make no distribution

const tile = (name, value, hint) => h("div", {}, h("dt", {}, name), h("dd", { class: "number" }, value), h("p", { class: "small soft" }, hint));

/** The rates of a result; none where a job was stopped before they were made. */
export function tiles(request, metrics) {
  if (!metrics || metrics.validity === undefined) return [];
  const own = [];
  if (request.kind === "reconstruct") own.push(tile("Matched", percent(metrics.match_rate), "The input comes back"), tile("RMSE", fixed(metrics.rmse, 4), "Of the matched, in cube roots of V/N"));
  for (const [p, rate] of Object.entries(metrics.success_rate ?? {})) own.push(tile(`Best ${p} %`, percent(rate), "Of the searches end there"));
  const shown = { generate: RATES, reconstruct: RATES.slice(0, 3), optimize: RATES.filter(([name]) => !name.includes("_")) }[request.kind];
  const common = shown.map(([name, label, hint]) => tile(label, percent(metrics[name]), hint));
  return [h("dl", { class: "rates" }, own, common)];
}

const isValid = ({ valid }) => valid.structure && valid.composition;

/**
 * The charts of a result. statistics: of the training data, or null.
 * Distributions are those of the valid crystals, as are the distances in the metrics.
 */
export function charts(request, { crystals, metrics }, card, statistics) {
  const figures = [];
  if (request.kind === "reconstruct") return figures; // as its input is, not as the model has it
  if (request.kind === "optimize") {
    const unit = card?.properties[request.property]?.unit ?? "";
    figures.push(curve(request, crystals, unit, statistics?.property_quantiles[request.property]));
  }
  const valid = crystals.filter(isValid);
  const distribution = (title, unit, values, quantiles, distance) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (known.length >= FEWEST) figures.push(histogram({ title, unit, values: known, quantiles, distance }));
  };
  distribution("Density", "g/cm³", valid.map((one) => one.density), statistics?.density_quantiles ?? null, metrics?.density?.wasserstein ?? null);
  for (const [name, { unit }] of Object.entries(card?.properties ?? {})) {
    const distance = name.includes("energy") ? metrics?.energy?.wasserstein ?? null : null;
    distribution(`Predicted ${spoken(name).toLowerCase()}`, unit, valid.map((one) => one.predicted[name]), statistics?.property_quantiles[name] ?? null, distance);
  }
  const drawn = figures.filter(Boolean);
  return drawn.length ? [h("section", { class: "charts", "aria-label": "Charts", tabindex: "0" }, drawn)] : [];
}
