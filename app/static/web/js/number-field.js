// Field for a number within limits, with an optional slider.
import { h, uniqueId } from "./dom.js";

/**
 * Return {element, hint, fault(text)}; `onchange` gets the number, undefined if the field is empty.
 * slider: from `min` to `max`; the number is then required.
 */
export function numberField({
  name,
  label,
  value,
  min,
  max,
  step = 1,
  placeholder,
  hint,
  slider = false,
  onchange,
}) {
  const id = uniqueId(name);
  const note = h("p", { class: "hint", id: `${id}-hint`, hidden: !hint }, hint);
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const read = () => (input.value === "" ? undefined : input.valueAsNumber);
  const input = h("input", {
    type: "number",
    id,
    name,
    min,
    max,
    step,
    placeholder,
    required: slider,
    inputmode: step === "any" ? "decimal" : "numeric",
    "aria-describedby": `${id}-hint ${id}-fault`,
    value: value ?? "",
    oninput: () => {
      if (range && input.value) range.value = toSlider(input.valueAsNumber, min, max);
      onchange(read());
    },
  });
  const range =
    slider && max > min
      ? h("input", {
          type: "range",
          min: 0,
          max: 100,
          step: 1,
          "aria-hidden": "true",
          tabindex: "-1",
          value: toSlider(value, min, max),
          oninput: () => {
            input.value = fromSlider(range.valueAsNumber, min, max);
            onchange(read());
          },
        })
      : null;
  const element = h(
    "div",
    {},
    h("label", { class: "label", for: id }, label),
    range ? h("div", { class: "slider" }, input, range) : input,
    note,
    fault,
  );
  return {
    element,
    hint: note,
    fault(text) {
      fault.textContent = text;
      fault.hidden = !text;
      input.setAttribute("aria-invalid", text ? "true" : "false");
    },
  };
}

// The slider is logarithmic: from 4 to 8 crystals is as far as from 4000 to 8000.
const toSlider = (value, min, max) => (100 * Math.log((value || min) / min)) / Math.log(max / min);
function fromSlider(place, min, max) {
  const value = min * (max / min) ** (place / 100);
  const digits = 10 ** Math.max(0, Math.floor(Math.log10(value)) - 1);
  return Math.min(max, Math.max(min, Math.round(value / digits) * digits));
}
