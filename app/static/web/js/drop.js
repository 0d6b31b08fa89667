// Field for a CIF that is dropped, chosen in a file dialog, or pasted.
import { countBlocks } from "./cif.js";
import { h, uniqueId } from "./dom.js";
import { counted, whole } from "./format.js";

/**
 * Return a field for one CIF file, {element, fault(text)}; `onchange` is called with {name, text} or
 * undefined. hint: the required content.
 */
export function dropZone({ name, label, hint, file, onchange }) {
  const id = uniqueId(name);
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const words = h("div", { id: `${id}-words` });
  const input = h("input", {
    type: "file",
    id,
    accept: ".cif,chemical/x-cif,text/plain",
    "aria-describedby": `${id}-words ${id}-fault`,
    onchange: () => read(input.files[0]),
  });
  const zone = h(
    "div",
    {
      class: "drop",
      ondragover: over,
      ondragleave: () => zone.classList.remove("over"),
      ondrop: drop,
    },
    words,
    input,
  );
  const area = h("textarea", {
    rows: 6,
    spellcheck: "false",
    autocomplete: "off",
    placeholder: "data_…",
    "aria-label": `${label}, as text`,
    "aria-describedby": `${id}-words ${id}-fault`,
    oninput: () => {
      const text = area.value;
      take(text.trim() ? { name: `${name}.cif`, text, isPasted: true } : undefined);
    },
  });
  const paste = h(
    "details",
    { class: "paste", open: Boolean(file?.isPasted) },
    h("summary", { class: "small" }, "Paste its text"),
    area,
  );

  function over(event) {
    event.preventDefault();
    zone.classList.add("over");
  }

  function drop(event) {
    event.preventDefault();
    zone.classList.remove("over");
    read(event.dataTransfer.files[0]);
  }

  async function read(chosen) {
    if (chosen) take({ name: chosen.name, text: await chosen.text() });
  }

  function take(taken) {
    show(taken);
    setFault("");
    onchange(taken);
  }

  function show(taken) {
    zone.classList.toggle("filled", Boolean(taken));
    area.value = taken?.isPasted ? taken.text : "";
    const [title, more] = taken
      ? [taken.name, `${extent(taken.text)}. Choose another to replace it`]
      : ["Drop a CIF here, or choose one", hint];
    words.replaceChildren(h("strong", {}, title), h("p", { class: "small soft" }, more));
  }

  function setFault(text) {
    fault.textContent = text;
    fault.hidden = !text;
    for (const field of [input, area]) field.setAttribute("aria-invalid", text ? "true" : "false");
  }

  show(file);
  const heading = h("label", { class: "label", for: id }, label);
  const element = h("div", { "data-field": name }, heading, zone, fault, paste);
  return { element, fault: setFault };
}

const extent = (text) => `${counted(countBlocks(text), "block")}, ${whole(text.length)} characters`;
