// Panel of one crystal: its 3D view, next to its input crystal if there is one, and its data.
import { download, save } from "./api.js";
import { copy, h, segments } from "./dom.js";
import { element } from "./elements.js";
import { formula, spaceGroup } from "./format.js";
import { structureOf } from "./geometry.js";
import { factsOf } from "./record.js";
import { crystalViews } from "./views.js";

/** Return a panel {element, show(record)}; given: the input crystals of the job. */
export function inspector(jobId, card, given, signal) {
  const options = { cell: true, bonds: true, supercell: 1 };
  const views = crystalViews(given, signal);
  const title = h("h2", {});
  const legend = h("div", { class: "row legend" });
  const facts = h("dl", { class: "facts" });
  const actions = h("div", { class: "row" });
  let current = null;
  let crystal = null; // the structure of the current record, the same object until another is shown

  const redraw = () => current && draw(current);
  const toggle = (name, text) =>
    h(
      "label",
      { class: "check" },
      h("input", {
        type: "checkbox",
        checked: options[name],
        onchange: (event) => {
          options[name] = event.target.checked;
          redraw();
        },
      }),
      text,
    );
  const controls = h(
    "div",
    { class: "row controls" },
    toggle("cell", "Unit cell"),
    toggle("bonds", "Bonds"),
    segments({
      name: "supercell",
      legend: "Supercell",
      compact: true,
      value: "1",
      options: [
        ["1", "1×"],
        ["2", "2×2×2"],
        ["3", "3×3×3"],
      ],
      onchange: (n) => {
        options.supercell = Number(n);
        redraw();
      },
    }),
    h(
      "button",
      {
        type: "button",
        class: "compact",
        onclick: () => views.reset(),
      },
      "Reset view",
    ),
  );

  const panel = h(
    "section",
    { class: "card stack inspector", "aria-label": "Selected crystal" },
    title,
    views.element,
    controls,
    legend,
    facts,
    actions,
  );

  function draw(record) {
    const shown = views.show(record, crystal, { ...options });
    const numbers = new Set(shown.flatMap(({ sites }) => sites.map((site) => site.number)));
    legend.replaceChildren(
      ...[...numbers].map((number) => {
        const { symbol, color } = element(number);
        const dot = h("span", { class: "dot" });
        dot.style.background = color;
        return h("span", { class: "small" }, dot, symbol);
      }),
    );
  }

  function show(record) {
    panel.hidden = record === null;
    if (!record || record === current) return;
    current = record;
    crystal = structureOf(record);
    title.replaceChildren(
      formula(record.reduced_formula),
      " ",
      h("span", { class: "soft" }, spaceGroup(record.spacegroup)),
    );
    facts.replaceChildren(
      ...factsOf(record, card).map(([name, value]) =>
        h("div", {}, h("dt", {}, name), h("dd", { class: "number" }, value)),
      ),
    );
    const name = `${String(record.index).padStart(5, "0")}-${record.reduced_formula}.cif`;
    actions.replaceChildren(
      h(
        "button",
        { type: "button", class: "compact", onclick: () => fetchCif(jobId, record, name) },
        "Download CIF",
      ),
      h(
        "button",
        {
          type: "button",
          class: "compact",
          onclick: () => copy(record.cif),
        },
        "Copy CIF",
      ),
    );
    draw(record);
  }

  return { element: panel, show };
}

/** Download the crystal's file; while the job runs it has no result, so the record's text is used. */
async function fetchCif(jobId, record, name) {
  try {
    await download(`jobs/${jobId}/crystals/${record.index}?format=cif`, name);
  } catch {
    save(new Blob([record.cif], { type: "chemical/x-cif" }), name);
  }
}
