// One crystal: its 3D view, beside the given one where there is one, and all that is known of it.
import { download, save } from "./api.js";
import { copy, h, segments } from "./dom.js";
import { fixed, formula, spaceGroup, spoken } from "./format.js";
import { structure, structureOf } from "./geometry.js";
import { element } from "./elements.js";
import { crystalView } from "./viewer.js";

/** A panel {element, show(record)}; given: the crystals that the job was given. */
export function inspector(jobId, card, given, signal) {
  const options = { cell: true, bonds: true, supercell: 1 };
  const result = { view: crystalView(signal), caption: h("figcaption", {}) };
  const source = given.length ? { view: crystalView(signal), caption: h("figcaption", {}) } : null;
  const title = h("h2", {});
  const legend = h("div", { class: "row legend" });
  const facts = h("dl", { class: "facts" });
  const actions = h("div", { class: "row" });
  const inputs = given.map(({ lattice, species, frac }) => structure(lattice, species, frac));
  let current = null;
  let crystal = null; // the structure of the current record: the same as long as that is the same

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
        onclick: () => {
          result.view.reset();
          source?.view.reset();
        },
      },
      "Reset view",
    ),
  );

  const views = h(
    "div",
    { class: source ? "views two" : "views" },
    source ? h("figure", {}, source.view.element, source.caption) : null,
    h("figure", {}, result.view.element, result.caption),
  );
  const panel = h(
    "section",
    { class: "card stack inspector", "aria-label": "Chosen crystal" },
    title,
    views,
    controls,
    legend,
    facts,
    actions,
  );

  function draw(record) {
    result.view.show(crystal, record.reduced_formula, { ...options });
    const numbers = new Set(crystal.sites.map((site) => site.number));
    const from = sourceOf(record);
    const before = source && from !== null ? given[from] : null;
    views.classList.toggle("two", Boolean(before));
    if (source) source.view.element.parentElement.hidden = !before;
    if (before) {
      const input = inputs[from];
      source.view.show(input, before.label, { ...options });
      source.caption.textContent = `Given: ${before.label}`;
      result.caption.textContent = became(record);
      input.sites.forEach((site) => numbers.add(site.number));
    }
    legend.replaceChildren(
      ...[...numbers].map((number) => {
        const { symbol, colour } = element(number);
        const dot = h("span", { class: "dot" });
        dot.style.background = colour;
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
      ...rows(record, card).map(([name, value]) =>
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

/** The crystal's own file; while the job runs there is no result yet, but the record has the text. */
async function fetchCif(jobId, record, name) {
  try {
    await download(`jobs/${jobId}/crystals/${record.index}?format=cif`, name);
  } catch {
    save(new Blob([record.cif], { type: "chemical/x-cif" }), name);
  }
}

/** The number of the given crystal that a record belongs to, or null; on a walk the nearer end. */
function sourceOf(record) {
  if ("position" in record) return Math.round(record.position);
  return "distance" in record ? 0 : (record.source ?? null);
}

/** What became of the given crystal. */
function became(record) {
  if ("position" in record) return `At ${fixed(record.position)} of the way`;
  if ("distance" in record) return `Varied: ${fixed(record.distance)} away`;
  if (!("matched" in record)) return "Optimised";
  return `Reconstructed: ${record.matched ? `matches, RMSE ${fixed(record.rmse, 4)}` : "does not match"}`;
}

const yes = (flag) => (flag ? "yes" : "no");

function rows(record, card) {
  const { a, b, c, alpha, beta, gamma } = record.lattice;
  const predicted = Object.entries(record.predicted).map(([name, value]) => [
    spoken(name),
    `${fixed(value, 3)} ${card?.properties[name]?.unit ?? ""}`,
  ]);
  return [
    ...predicted,
    ...("start_value" in record
      ? [
          ["Before the search", fixed(record.start_value, 3)],
          ["Percentile of the data", fixed(record.percentile, 1)],
        ]
      : []),
    ["Density", `${fixed(record.density)} g/cm³`],
    ["a, b, c", `${fixed(a)}, ${fixed(b)}, ${fixed(c)} Å`],
    ["α, β, γ", `${fixed(alpha, 1)}, ${fixed(beta, 1)}, ${fixed(gamma, 1)}°`],
    ["Volume", `${fixed(record.volume, 1)} Å³`],
    ["Shortest contact", `${fixed(record.min_distance)} Å`],
    ["Structure valid", yes(record.valid.structure)],
    ["Composition valid", yes(record.valid.composition)],
    ["New", record.novel === null ? "not known" : yes(record.novel)],
    ["Number in the job", String(record.index)],
  ];
}
