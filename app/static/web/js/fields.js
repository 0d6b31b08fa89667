// The fields of each task, with the limits that the model's card sets.
import { h, segments, uniqueId } from "./dom.js";
import { dropZone } from "./drop.js";
import { spoken, whole } from "./format.js";

const DIRECTIONS = [["minimize", "Lower"], ["maximize", "Higher"], ["target", "A value"]];
const STARTS = [["dataset", "Known crystals"], ["prior", "Random"], ["structures", "My CIF"]];
const PRIORITIES = [["interactive", "Interactive"], ["normal", "Normal"], ["bulk", "Bulk"]];
const LARGEST_SEED = 2 ** 53 - 1;

/**
 * The fields of a task for a model.
 * values: what was entered before, changed in place; onchange: called after every change.
 * Returns {elements, read, showFaults, clearFaults}; `read()` gives the values of the fields shown.
 */
export function fieldsFor(kind, card, values, onchange) {
  const shown = new Map(); // name → {element, input?, visible?}
  const set = (name) => (value) => {
    values[name] = value;
    for (const field of shown.values()) field.refresh?.();
    onchange();
  };
  const add = (name, field) => {
    field.refresh?.();
    shown.set(name, field);
    return field.element;
  };
  const start = (name, value) => (values[name] ??= value);

  const count = (name, label, first, most, hint) => {
    start(name, Math.min(first, most));
    return add(name, numberField({ name, label, value: values[name], min: 1, max: most, slider: true, hint, onchange: set(name) }));
  };
  const choice = (name, legend, options, first = options[0][0]) => {
    start(name, first);
    if (!options.some(([key]) => key === values[name])) values[name] = options[0][0];
    return add(name, { element: segments({ name, legend, options, value: values[name], onchange: set(name) }) });
  };
  const file = (name, visible = () => true) => {
    const zone = dropZone({ name, card, file: values[name], onchange: set(name) });
    return add(name, { ...zone, refresh: () => { zone.element.hidden = !visible(); } });
  };

  const most = card.limits.max_num_samples;
  const main = {
    generate: () => [count("num_samples", "Crystals", 16, most, `Up to ${whole(most)}`)],
    reconstruct: () => [
      file("cif"),
      count("num_candidates", "Candidates for each", 1, Math.min(1000, most), "The first decodes the mean, the others draw around it"),
    ],
    optimize: () => {
      const goal = () => {
        const field = numberField({ name: "value", label: "Value to aim at", value: values.value, step: "any", hint: " ", onchange: set("value") });
        return add("value", { ...field, refresh() {
          field.element.hidden = values.direction !== "target";
          field.hint.textContent = `In ${card.properties[values.property].unit}`;
        } });
      };
      const properties = Object.keys(card.properties).map((name) => [name, spoken(name)]);
      return [
        choice("property", "Property", properties),
        choice("direction", "Goal", DIRECTIONS),
        goal(),
        choice("start", "Start from", STARTS),
        file("cif", () => values.start === "structures"),
        count("optimize_samples", "Crystals", 20, most, "One search for each"),
      ];
    },
  }[kind]();

  const samplers = Object.keys(card.samplers);
  start("sampler", samplers[0]);
  const stepsField = h("div", {});
  const drawSteps = () => {
    const limits = card.samplers[values.sampler];
    const field = numberField({ name: "sampler_steps", label: "Score evaluations", value: values.sampler_steps, min: limits.multiple_of,
      max: limits.max_steps, step: limits.multiple_of, placeholder: `${limits.default_steps}`,
      hint: `Of each crystal; up to ${whole(limits.max_steps)}`, onchange: set("sampler_steps") });
    stepsField.replaceChildren(add("sampler_steps", field));
  };
  if (!samplers.includes(values.sampler)) values.sampler = samplers[0];
  const sampler = segments({ name: "sampler", legend: "Sampler", value: values.sampler, options: samplers.map((name) => [name, spoken(name)]),
    onchange: (name) => { values.sampler_steps = undefined; set("sampler")(name); drawSteps(); } });
  shown.set("sampler", { element: sampler });
  drawSteps();

  const advanced = h("details", {}, h("summary", {}, "Sampler, seed, priority"), h("div", { class: "stack" },
    sampler,
    h("div", { class: "pair" }, stepsField,
      add("seed", numberField({ name: "seed", label: "Seed", value: values.seed, min: 0, max: LARGEST_SEED, placeholder: "drawn",
        hint: "The same seed gives the same crystals", onchange: set("seed") }))),
    kind === "optimize"
      ? h("div", { class: "pair" },
        add("steps", numberField({ name: "steps", label: "Gradient steps", value: values.steps, min: 1, max: 50_000, placeholder: "50", onchange: set("steps") })),
        add("learning_rate", numberField({ name: "learning_rate", label: "Learning rate", value: values.learning_rate, min: 0.0001, max: 1, step: "any",
          placeholder: "0.05", onchange: set("learning_rate") })))
      : null,
    choice("priority", "Priority", PRIORITIES, "normal")));

  return {
    elements: [...main, advanced],
    read() {
      const active = [...shown].filter(([, field]) => !field.element.hidden).map(([name]) => [name, values[name]]);
      return Object.fromEntries(active.filter(([, value]) => value !== undefined));
    },
    clearFaults: () => shown.forEach((field) => field.fault?.("")),
    showFaults(errors) {
      for (const error of errors) {
        const name = FAULTS[error.pointer ?? `?${error.parameter}`] ?? error.pointer?.slice(1) ?? error.parameter;
        const field = shown.get(kind === "optimize" && name === "num_samples" ? "optimize_samples" : name);
        field?.fault?.(error.detail);
        if (field && advanced.contains(field.element)) advanced.open = true;
      }
    },
  };
}

/** Which field is meant where the service names it otherwise. */
const FAULTS = { "/sampler/steps": "sampler_steps", "?steps": "sampler_steps", "/sampler/name": "sampler" };

function numberField({ name, label, value, min, max, step = 1, placeholder, hint, slider = false, onchange }) {
  const id = uniqueId(name);
  const note = h("p", { class: "hint", id: `${id}-hint`, hidden: !hint }, hint);
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const read = () => (input.value === "" ? undefined : input.valueAsNumber);
  const input = h("input", { type: "number", id, name, min, max, step, placeholder, required: slider, inputmode: step === "any" ? "decimal" : "numeric",
    "aria-describedby": `${id}-hint ${id}-fault`, value: value ?? "", oninput: () => {
      if (range && input.value) range.value = toSlider(input.valueAsNumber, max);
      onchange(read());
    } });
  const range = slider && max > 1
    ? h("input", { type: "range", min: 0, max: 100, step: 1, "aria-hidden": "true", tabindex: "-1", value: toSlider(value, max), oninput: () => {
      input.value = fromSlider(range.valueAsNumber, max);
      onchange(read());
    } })
    : null;
  const element = h("div", {},
    h("label", { class: "label", for: id }, label),
    range ? h("div", { class: "slider" }, input, range) : input,
    note, fault);
  return { element, hint: note, fault(text) {
    fault.textContent = text;
    fault.hidden = !text;
    input.setAttribute("aria-invalid", text ? "true" : "false");
  } };
}

// The slider is logarithmic: a step from 4 to 8 crystals is as far as one from 4000 to 8000.
const toSlider = (value, max) => (100 * Math.log(value || 1)) / Math.log(max);
function fromSlider(place, max) {
  const value = max ** (place / 100);
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.min(max, Math.max(1, Math.round(value / digits) * digits));
}
