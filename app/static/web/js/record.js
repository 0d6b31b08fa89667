// Describe the record of a crystal in words.
import { fixed, spoken } from "./format.js";

export const isValid = ({ valid }) => valid.structure && valid.composition;

export const isOfWalk = (record) => "position" in record;
export const isVariation = (record) => "distance" in record;

/** Return the indices of the input crystals to show with a crystal: both ends of a path, else one or none. */
export function sourcesOf(record) {
  if (isOfWalk(record)) return [0, 1];
  if (isVariation(record)) return [0];
  return [record.source ?? null].filter((number) => number !== null);
}

/** Return the relation of the crystal to its inputs in a few words, or null. */
export function whereabouts(record) {
  if (isOfWalk(record)) return `position ${fixed(record.position)} along the path`;
  return isVariation(record) ? `${fixed(record.distance)} away` : null;
}

/** Return the relation of the crystal to its input as a sentence. */
export function became(record) {
  if (isOfWalk(record)) return `Position ${fixed(record.position)} along the path`;
  if (isVariation(record)) return `Varied: ${whereabouts(record)}`;
  if (!("matched" in record)) return "Optimized";
  return `Reconstructed: ${record.matched ? `matches, RMSE ${fixed(record.rmse, 4)}` : "does not match"}`;
}

const yes = (flag) => (flag ? "yes" : "no");

/** Return the values that only some kinds of jobs have. */
function special(record) {
  if ("start_value" in record)
    return [
      ["Before the search", fixed(record.start_value, 3)],
      ["Percentile of the data", fixed(record.percentile, 1)],
    ];
  if (isOfWalk(record))
    return [["Distance from the two ends", record.distances.map((one) => fixed(one)).join(", ")]];
  if (isVariation(record))
    return [
      ["Distance from the original", fixed(record.distance)],
      ["RMSE to it", record.rmse === null ? "no match" : fixed(record.rmse, 4)],
    ];
  return [];
}

/** Return all values of a crystal: [name, value]. */
export function factsOf(record, card) {
  const { a, b, c, alpha, beta, gamma } = record.lattice;
  const predicted = Object.entries(record.predicted).map(([name, value]) => [
    spoken(name),
    `${fixed(value, 3)} ${card?.properties[name]?.unit ?? ""}`,
  ]);
  return [
    ...predicted,
    ...special(record),
    ["Density", `${fixed(record.density)} g/cm³`],
    ["a, b, c", `${fixed(a)}, ${fixed(b)}, ${fixed(c)} Å`],
    ["α, β, γ", `${fixed(alpha, 1)}, ${fixed(beta, 1)}, ${fixed(gamma, 1)}°`],
    ["Volume", `${fixed(record.volume, 1)} Å³`],
    ["Shortest distance", `${fixed(record.min_distance)} Å`],
    ["Structure valid", yes(record.valid.structure)],
    ["Composition valid", yes(record.valid.composition)],
    ["New", record.novel === null ? "not known" : yes(record.novel)],
    ["Index in the job", String(record.index)],
  ];
}
