// The fields of each task, with the limits that the model's card sets.
import { holdsBoth } from "./cif.js";
import { h } from "./dom.js";
import { fieldKit } from "./field-kit.js";
import { cellSize, spoken, whole } from "./format.js";
import { requiredAtoms, requiredField, requiredFields } from "./required.js";

const DIRECTIONS = [
  ["minimize", "Lower"],
  ["maximize", "Higher"],
  ["target", "A value"],
];
const STARTS = [
  ["dataset", "Known crystals"],
  ["prior", "Random"],
  ["structures", "My CIF"],
];
const PRIORITIES = [
  ["interactive", "Interactive"],
  ["normal", "Normal"],
  ["bulk", "Bulk"],
];
const COMPOSITIONS = [
  ["no", "Allow changes"],
  ["yes", "Kept"],
];
const LARGEST_SEED = 2 ** 53 - 1;
const MOST_CANDIDATES = 1000;
const MOST_STEPS = 50_000;

const TASKS = { generate, reconstruct, optimize, interpolate, vary };
export const KINDS = Object.keys(TASKS);

/** Fields whose names in errors of the service differ; errors of a raw CIF have no name. */
const FAULTS = [
  [/^(\/sampler\/|\?)nfe$/, "sampler_steps"],
  [/^\/structures\/1\b/, "second"],
  [/^\/structures\b/, "first"],
  [/^(\/structure\b|\/start\/structures\b|\?$)/, "cif"],
  [/^\/keep_composition$/, "composition_kept"],
];

/** Return the name of the field that caused an error of the service. */
function faulty({ pointer, parameter = "" }) {
  const [, named] = FAULTS.find(([pattern]) => pattern.test(pointer ?? `?${parameter}`)) ?? [];
  return named ?? requiredField(pointer ?? "") ?? pointer?.slice(1) ?? parameter;
}

/**
 * Return the fields of a task for a model: {elements, read, showFaults, clearFaults}.
 * values: earlier input, changed in place; onchange: called after every change; `read()` returns
 * the values of the visible fields.
 */
export function fieldsFor(kind, card, values, onchange) {
  const kit = fieldKit(values, onchange);
  const main = TASKS[kind](kit, card);
  const advanced = h(
    "details",
    {},
    h("summary", {}, "Sampler, seed, priority"),
    h(
      "div",
      { class: "stack" },
      sampler(kit, card),
      kind === "optimize" ? search(kit) : null,
      kit.choice("priority", "Priority", PRIORITIES, "normal"),
    ),
  );

  function showFaults(errors) {
    for (const error of errors) {
      const name = faulty(error);
      const isCount = kind === "optimize" && name === "num_samples";
      const field = kit.shown.get(isCount ? "optimize_samples" : name);
      field?.fault?.(error.detail);
      const folded = field?.element.closest("details");
      if (folded) folded.open = true;
    }
  }

  return {
    elements: [...main, advanced],
    read: kit.read,
    showFaults,
    clearFaults: () => kit.shown.forEach((field) => field.fault?.("")),
  };
}

function generate(kit, card) {
  const most = card.limits.max_num_samples;
  const count = kit.count("num_samples", "Crystals", 16, most, `Up to ${whole(most)}`);
  return [count, requiredFields(kit, card)];
}

function reconstruct(kit, { limits }) {
  const most = Math.min(MOST_CANDIDATES, limits.max_num_samples);
  const hint = "The first decodes the mean latent, the others decode samples";
  return [
    givenCrystals(kit, limits),
    kit.count("num_candidates", "Candidates per crystal", 1, most, hint),
  ];
}

/** Return the fields for the caller's crystals. */
function givenCrystals(kit, limits, visible) {
  const hint = `One or more crystals of ${cellSize(limits)} atoms per cell, up to ${whole(limits.max_structures)}`;
  return kit.file("cif", "Crystals (CIF)", hint, visible);
}

function optimize(kit, card) {
  const { values } = kit;
  const { limits, properties } = card;
  const names = Object.keys(properties).map((name) => [name, spoken(name)]);
  return [
    kit.choice("property", "Property", names),
    kit.choice("direction", "Goal", DIRECTIONS),
    kit.number(
      "value",
      { label: "Target value", step: "any", hint: " " },
      ({ element, hint }) => {
        element.hidden = values.direction !== "target";
        hint.textContent = `In ${properties[values.property].unit}`;
      },
    ),
    kit.choice("start", "Start from", STARTS),
    givenCrystals(kit, limits, () => values.start === "structures"),
    kit.count("optimize_samples", "Crystals", 20, limits.max_num_samples, "One search per crystal"),
    requiredAtoms(kit, card),
  ];
}

function interpolate(kit, { limits }) {
  const { values } = kit;
  const crystal = `One crystal of ${cellSize(limits)} atoms per cell`;
  return [
    kit.file("first", "From (CIF)", `${crystal}, or a CIF with both ends`),
    kit.file("second", "To (CIF)", crystal, () => !holdsBoth(values.first)),
    kit.count("num_points", "Points", 11, limits.max_num_samples, "Including both ends", 2),
  ];
}

function vary(kit, { limits }) {
  const strength = { min: 0.01, max: 1, step: 0.01, placeholder: "0.3" };
  const hint = "0.01: almost the same; 1: nothing in common but what is kept";
  return [
    kit.file("cif", "Crystal (CIF)", `One crystal of ${cellSize(limits)} atoms per cell`),
    kit.number("strength", { label: "Strength", hint, ...strength }),
    kit.choice("composition_kept", "Composition", COMPOSITIONS),
    kit.count("num_samples", "Crystals", 16, limits.max_num_samples, "Number of variations"),
  ];
}

/** Return the fields of sampler, NFE (within the limits of the chosen sampler) and seed. */
function sampler(kit, { samplers }) {
  const { values } = kit;
  const names = Object.keys(samplers).map((name) => [name, spoken(name)]);
  const place = h("div", {});
  const pick = (name) => {
    values.sampler_steps = undefined;
    values.sampler = name;
    drawSteps();
    kit.set("sampler")(name);
  };
  const choice = kit.choice("sampler", "Sampler", names, undefined, pick);

  function drawSteps() {
    const { default_nfe, max_nfe, multiple_of } = samplers[values.sampler];
    place.replaceChildren(
      kit.number("sampler_steps", {
        label: "Function evaluations (NFE)",
        min: multiple_of,
        max: max_nfe,
        step: multiple_of,
        placeholder: `${default_nfe}`,
        hint: `Per crystal; up to ${whole(max_nfe)}`,
      }),
    );
  }

  drawSteps();
  const hint = "The same seed gives the same crystals";
  const limits = { min: 0, max: LARGEST_SEED, placeholder: "drawn" };
  return [
    choice,
    h("div", { class: "pair" }, place, kit.number("seed", { label: "Seed", hint, ...limits })),
  ];
}

/** Return the fields that only an optimization has. */
function search(kit) {
  const steps = { label: "Gradient steps", min: 1, max: MOST_STEPS, placeholder: "200" };
  const rate = { label: "Learning rate", min: 0.0001, max: 1, step: "any", placeholder: "0.1" };
  return h("div", { class: "pair" }, kit.number("steps", steps), kit.number("learning_rate", rate));
}
