// A place for a CIF: dropped, chosen or pasted from a file dialog.
import { h, uniqueId } from "./dom.js";
import { counted, whole } from "./format.js";

/** Blocks of a CIF text; the service reads it for good, this is for the reader. */
const countBlocks = (text) => (text.match(/^\s*data_/gim) ?? []).length;

/** A field for one CIF file; `onchange` is called with {name, text} or undefined. */
export function dropZone({ name, card, file, onchange }) {
  const id = uniqueId(name);
  const { min_atoms: least, max_atoms: most } = card.limits;
  const atoms = least === most ? `${most} atoms` : `${least} to ${most} atoms`;
  const fault = h("p", { class: "fault", id: `${id}-fault`, hidden: true });
  const words = h("div", {});
  const input = h("input", {
    type: "file",
    id,
    accept: ".cif,chemical/x-cif,text/plain",
    "aria-describedby": `${id}-fault`,
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
    if (!chosen) return;
    const taken = { name: chosen.name, text: await chosen.text() };
    show(taken);
    setFault("");
    onchange(taken);
  }

  function show(taken) {
    zone.classList.toggle("filled", Boolean(taken));
    if (!taken) {
      words.replaceChildren(
        h("strong", {}, "Drop a CIF here, or choose one"),
        h(
          "p",
          { class: "small soft" },
          `One or more crystals of ${atoms} a cell, up to ${whole(card.limits.max_structures)}`,
        ),
      );
      return;
    }
    const blocks = countBlocks(taken.text);
    words.replaceChildren(
      h("strong", {}, taken.name),
      h(
        "p",
        { class: "small soft" },
        `${counted(blocks, "block")}, ${whole(taken.text.length)} characters. Choose another to replace it`,
      ),
    );
  }

  function setFault(text) {
    fault.textContent = text;
    fault.hidden = !text;
  }

  show(file);
  const label = h("label", { class: "label", for: id }, "Crystals (CIF)");
  return { element: h("div", { "data-field": name }, label, zone, fault), fault: setFault };
}
