// Numbers, times and names as text.
import { h } from "./dom.js";

const DASH = "–";

/** Return a number with this many decimals; a dash if there is none. */
export function fixed(value, decimals = 2) {
  if (value === null || value === undefined) return DASH;
  const text = value.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text.replace("-", "−");
}

export const percent = (share) =>
  share === null || share === undefined ? DASH : `${fixed(100 * share, 1)} %`;

export const whole = (value) => value.toLocaleString("en");

/** Return "1 crystal", "8 crystals". */
export const counted = (number, noun) => `${whole(number)} ${noun}${number === 1 ? "" : "s"}`;

/** Return the cell sizes of a model: "5", "1 to 20". */
export const cellSize = ({ min_atoms: least, max_atoms: most }) =>
  least === most ? `${most}` : `${least} to ${most}`;

/** Return the name of a property as text: "Formation energy". */
export function spoken(name) {
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

/** Return seconds as "12 s", "3 min", "2 h 05 min". */
export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}

/** Return a `time` element: "4 min ago", with the date as tooltip. */
export function ago(text) {
  const moment = new Date(text);
  const seconds = (Date.now() - moment.getTime()) / 1000;
  const words =
    seconds < 45
      ? "just now"
      : seconds < 86400
        ? `${duration(seconds)} ago`
        : moment.toLocaleDateString("en-GB");
  return h("time", { datetime: text, title: moment.toLocaleString("en-GB") }, words);
}

/** Return a formula such as SrTiO3 with subscripts. */
export function formula(text) {
  const parts = text.match(/[A-Z][a-z]?|[\d.]+|\s+|./g) ?? [];
  return h(
    "span",
    { class: "formula" },
    parts.map((part) => (/^[\d.]+$/.test(part) ? h("sub", {}, part) : part)),
  );
}

/** Return a Hermann-Mauguin symbol such as Pm-3m with bars instead of minus signs. */
export function spaceGroup(group) {
  if (!group) return h("span", { class: "soft" }, "no space group");
  const parts = group.symbol.match(/-\d|_\d|./g) ?? [];
  const shown = parts.map((part) => {
    if (part.length === 1) return /[A-Za-z]/.test(part) ? h("i", {}, part) : part;
    return part[0] === "-" ? h("span", { class: "overline" }, part[1]) : h("sub", {}, part[1]);
  });
  return h(
    "span",
    { class: "group", "aria-label": `${group.symbol}, number ${group.number}`, role: "img" },
    shown,
  );
}

const TITLES = {
  generate: "Generate",
  reconstruct: "Reconstruct",
  optimize: "Optimize",
  interpolate: "Interpolate",
  vary: "Vary",
};
export const kindName = (kind) => TITLES[kind];

/** Return a formula as plain text with subscripts. */
export const lowered = (text) =>
  text.replace(/\d/g, (digit) => String.fromCodePoint(0x2080 + Number(digit)));

/** Return "Sr1 Ti1 O3" as SrTiO₃. */
const tight = (text) => lowered(text.replace(/(?<=[a-z])1(?= |$)|\s/gi, ""));

/** Return the title of a job. */
export function jobTitle({ request }) {
  if (request.kind === "generate") return `Generate ${counted(request.num_samples, "crystal")}`;
  if (request.kind === "reconstruct") {
    const given = request.structures;
    return given.length === 1
      ? `Reconstruct ${tight(given[0].formula)}`
      : `Reconstruct ${counted(given.length, "crystal")}`;
  }
  if (request.kind === "interpolate") {
    const [first, second] = request.structures;
    return `Interpolate from ${tight(first.formula)} to ${tight(second.formula)}`;
  }
  if (request.kind === "vary")
    return `Vary ${tight(request.structures[0].formula)}, ${counted(request.num_samples, "crystal")}`;
  const verb = { minimize: "Minimize", maximize: "Maximize", target: "Target for" }[request.direction];
  const goal = request.direction === "target" ? `${fixed(request.value)} of the ` : "the ";
  return `${verb} ${goal}${request.property.replaceAll("_", " ")} of ${counted(request.num_samples, "crystal")}`;
}
