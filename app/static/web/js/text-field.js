// Field for a short text.
import { h, uniqueId } from "./dom.js";

/** Return {element, fault(text)}; `onchange` gets the text, undefined if the field is empty. */
export function textField({ name, label, value, placeholder, hint, onchange }) {
  const id = uniqueId(name);
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const input = h("input", {
    type: "text",
    id,
    name,
    placeholder,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": `${id}-hint ${id}-fault`,
    value: value ?? "",
    oninput: () => onchange(input.value.trim() || undefined),
  });
  const element = h(
    "div",
    {},
    h("label", { class: "label", for: id }, label),
    input,
    h("p", { class: "hint", id: `${id}-hint`, hidden: !hint }, hint),
    fault,
  );
  return {
    element,
    fault(text) {
      fault.textContent = text;
      fault.hidden = !text;
      input.setAttribute("aria-invalid", text ? "true" : "false");
    },
  };
}
