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
  if (request.kind === "reconstruct") own.push(tile("Matched", percent(metrics.match_rate), "By pymatgen's StructureMatcher"), tile("RMSE", fixed(metrics.rmse, 4), "Of the matched, per (V/N)^⅓"));
  for (const [p, rate] of Object.entries(metrics.success_rate ?? {})) own.push(tile(`Best ${p} %`, percent(rate), "Valid and there, of all searches"));
  const rates = request.kind === "reconstruct" ? RATES.slice(0, 3) : RATES;
  const common = rates.map(([name, label, hint]) => tile(label, percent(metrics[name]), hint));
  return [h("dl", { class: "rates" }, own, common)];
}

/** The charts of a result. statistics: of the training data, or null. */
export function charts(request, { crystals, metrics }, card, statistics) {
  const figures = [];
  if (request.kind === "reconstruct") return figures; // as its input is, not as the model has it
  if (request.kind === "optimize") {
    const unit = card?.properties[request.property]?.unit ?? "";
    figures.push(curve(request, crystals, unit, statistics?.property_quantiles[request.property]));
  }
  const distribution = (title, unit, values, quantiles, distance) => {
    const known = values.filter((value) => value !== null && value !== undefined);
    if (known.length >= FEWEST) figures.push(histogram({ title, unit, values: known, quantiles, distance }));
  };
  distribution("Density", "g/cm³", crystals.map((one) => one.density), statistics?.density_quantiles ?? null, metrics?.density?.wasserstein ?? null);
  for (const [name, { unit }] of Object.entries(card?.properties ?? {})) {
    const distance = name.includes("energy") ? metrics?.energy?.wasserstein ?? null : null;
    distribution(`Predicted ${spoken(name).toLowerCase()}`, unit, crystals.map((one) => one.predicted[name]), statistics?.property_quantiles[name] ?? null, distance);
  }
  const drawn = figures.filter(Boolean);
  return drawn.length ? [h("section", { class: "charts", "aria-label": "Charts" }, drawn)] : [];
}
