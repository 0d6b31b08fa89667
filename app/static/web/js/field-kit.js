// The fields of a form: create them, keep their values, track which are visible.
import { segments } from "./dom.js";
import { dropZone } from "./drop.js";
import { numberField } from "./number-field.js";
import { textField } from "./text-field.js";

/** values: earlier input, changed in place; onchange: called after every change. */
export function fieldKit(values, onchange) {
  const shown = new Map(); // name → {element, fault?(text), refresh?()}

  const set = (name) => (value) => {
    values[name] = value;
    for (const field of shown.values()) field.refresh?.();
    onchange();
  };

  /** Register a field and return its element; `refresh` is called after every change. */
  function add(name, field) {
    field.refresh?.();
    shown.set(name, field);
    return field.element;
  }

  /** A number, undefined if empty; `refresh` gets the field. */
  function number(name, options, refresh = null) {
    const field = numberField({ name, value: values[name], onchange: set(name), ...options });
    return add(name, { ...field, refresh: refresh && (() => refresh(field)) });
  }

  /** A short text, undefined if empty. */
  function text(name, options) {
    return add(name, textField({ name, value: values[name], onchange: set(name), ...options }));
  }

  /** A number of crystals up to `max`. */
  function count(name, label, first, max, hint, min = 1) {
    values[name] = Math.min(values[name] ?? first, max);
    return number(name, { label, min, max, slider: true, hint });
  }

  /** A choice between a few options; `options` as in `segments`. */
  function choice(name, legend, options, first = options[0][0], onpick = set(name)) {
    if (!options.some(([key]) => key === values[name])) values[name] = first;
    const element = segments({ name, legend, options, value: values[name], onchange: onpick });
    return add(name, { element });
  }

  /** A CIF; visible while `visible()` is true. */
  function file(name, label, hint, visible = () => true) {
    const zone = dropZone({ name, label, hint, file: values[name], onchange: set(name) });
    const refresh = () => {
      zone.element.hidden = !visible();
    };
    return add(name, { ...zone, refresh });
  }

  /** Return the values of the visible fields that are not empty. */
  function read() {
    const names = [...shown].filter(([, { element }]) => !element.hidden).map(([name]) => name);
    const known = names.filter((name) => values[name] !== undefined);
    return Object.fromEntries(known.map((name) => [name, values[name]]));
  }

  return { values, shown, set, number, text, count, choice, file, read };
}
