// Metrics of a finished job as tiles; distributions, search and path as charts.
import { h } from "./dom.js";
import { fixed, percent, spoken } from "./format.js";
import { histogram } from "./histogram.js";
import { isValid } from "./record.js";
import { searchCurve } from "./search-curve.js";
import { walkCurve } from "./walk-curve.js";

const RATES = [
  ["validity", "Valid", "Structure and composition pass"],
  ["structure_validity", "Structure valid", "No distance below 0.5 Å"],
  ["composition_validity", "Composition valid", "Charges balance (SMACT)"],
  ["uniqueness", "Unique", "Not a duplicate"],
  ["novelty", "New", "Not in the training data"],
];
const FEWEST = 4; // crystals; no distribution for fewer

const tile = (name, value, hint) =>
  h(
    "div",
    {},
    h("dt", {}, name),
    h("dd", { class: "number" }, value),
    h("dd", { class: "small soft" }, hint),
  );

/** Return the metrics of a result; a job that was stopped early has none. */
export function tiles(request, metrics) {
  if (!metrics || metrics.validity === undefined) return [];
  const own = [];
  if (request.kind === "reconstruct")
    own.push(
      tile("Matched", percent(metrics.match_rate), "Input crystals reproduced"),
      tile("RMSE", fixed(metrics.rmse, 4), "Mean over matches, in units of (V/N)^(1/3)"),
    );
  if (request.kind === "vary")
    own.push(tile("Distance", fixed(metrics.distance?.mean), "Mean distance from the original"));
  for (const [p, rate] of Object.entries(metrics.success_rate ?? {}))
    own.push(tile(`Best ${p} %`, percent(rate), "Searches that reach it"));
  const shown = {
    generate: RATES,
    reconstruct: RATES.slice(0, 3),
    optimize: RATES.filter(([name]) => !name.includes("_")),
    interpolate: RATES.slice(0, 3),
    vary: RATES,
  }[request.kind];
  const common = shown.map(([name, label, hint]) => tile(label, percent(metrics[name]), hint));
  return [h("dl", { class: "rates" }, own, common)];
}

/** Return a histogram, or null for too few values; distance: from the metrics, if present. */
function distribution(title, unit, values, quantiles = null, distance = null) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (known.length < FEWEST) return null;
  return histogram({ title, unit, values: known, quantiles, distance });
}

/**
 * Return the charts of a result. statistics: of the training data, or null.
 * Distributions are of the valid crystals, as the distances in the metrics are.
 */
export function charts(request, { crystals, metrics }, card, statistics) {
  // Distributions of reconstructions only repeat their inputs.
  if (request.kind === "reconstruct" || !card) return [];
  const valid = crystals.filter(isValid);
  const quantiles = statistics?.property_quantiles ?? {};
  const names = Object.keys(card.properties);
  const energy = names.find((name) => name.includes("energy")); // the property of the metrics
  const unit = (name) => card.properties[name].unit;
  const property = (name) => {
    const values = valid.map((one) => one.predicted[name]);
    const distance = name === energy ? metrics?.energy?.wasserstein : null;
    const title = `Predicted ${spoken(name).toLowerCase()}`;
    return distribution(title, unit(name), values, quantiles[name], distance);
  };
  const density = () => {
    const values = valid.map((one) => one.density);
    const distance = metrics?.density?.wasserstein;
    return distribution("Density", "g/cm³", values, statistics?.density_quantiles, distance);
  };
  const sample = () => [density(), ...names.map(property)];
  const search = (goal) => [
    searchCurve(request, crystals, unit(goal), quantiles[goal]),
    property(goal),
  ];
  const walk = () => names.map((name) => walkCurve(name, crystals, unit(name), names.length === 1));
  const figures = {
    generate: sample,
    optimize: () => search(request.property),
    interpolate: walk,
    vary: sample,
  }[request.kind]();
  const drawn = figures.filter(Boolean);
  if (drawn.length === 0) return [];
  return [h("section", { class: "charts", "aria-label": "Charts", tabindex: "0" }, drawn)];
}
