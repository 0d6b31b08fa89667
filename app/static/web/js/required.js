// Constraints on the crystals: the fields and their part of the request.
import { h } from "./dom.js";
import { spoken } from "./format.js";

const CELL = ["a", "b", "c", "alpha", "beta", "gamma"];
const ANY = "any";

/** Return the field of a JSON pointer of the service; null if it is not one of these fields. */
export function requiredField(pointer) {
  const [, first, second] = pointer.split("/");
  if (first === "elements") return second === "exclude" ? "exclude" : "include";
  if (first === "target") return second === "property" ? "target_property" : "target_value";
  return first === "lattice" ? "lattice" : null;
}

/** Return the fields for generated crystals, folded at first. */
export function requiredFields(kit, { limits, properties }) {
  const { values } = kit;
  const names = Object.keys(properties).map((name) => [name, spoken(name)]);
  return folded(
    values,
    ...elementFields(kit),
    h(
      "div",
      { class: "pair" },
      sizeField(kit, limits),
      kit.number("spacegroup", { label: "Space group", min: 1, max: 230, placeholder: "any" }),
    ),
    kit.text("lattice", {
      label: "Cell",
      placeholder: "3.9 3.9 3.9 90 90 90",
      hint: "a, b, c in Å, then α, β, γ in degrees",
    }),
    names.length > 0 &&
      kit.choice("target_property", "Target property", [[ANY, "None"], ...names]),
    names.length > 0 &&
      kit.number(
        "target_value",
        { label: "Value", step: "any", hint: " " },
        ({ element, hint }) => {
          element.hidden = values.target_property === ANY;
          hint.textContent = `In ${properties[values.target_property]?.unit ?? ""}`;
        },
      ),
  );
}

/** Return the fields for a search, which can only constrain the atoms. */
export function requiredAtoms(kit, { limits }) {
  return folded(kit.values, ...elementFields(kit), sizeField(kit, limits));
}

function folded(values, ...fields) {
  const open = Object.keys(required(values)).length > 0;
  const summary = h("summary", {}, "Constraints");
  return h("details", { open }, summary, h("div", { class: "stack" }, ...fields));
}

const elementFields = (kit) => [
  kit.text("composition", { label: "Formula", placeholder: "SrTiO3" }),
  h(
    "div",
    { class: "pair" },
    kit.text("include", { label: "With elements", placeholder: "O, Ti" }),
    kit.text("exclude", { label: "Without elements", placeholder: "Pb" }),
  ),
];

const sizeField = (kit, { min_atoms: min, max_atoms: max }) =>
  kit.number("num_atoms", { label: "Atoms in the cell", min, max, placeholder: "any" });

/** Return the constraints of a request from the values of the fields; empty fields are omitted. */
export function required(values) {
  const { composition, num_atoms, spacegroup, lattice, target_property, target_value } = values;
  const parts = { composition, num_atoms, spacegroup };
  const include = symbols(values.include);
  const exclude = symbols(values.exclude);
  if (include.length + exclude.length > 0) parts.elements = { include, exclude };
  if (lattice !== undefined) {
    // Invalid numbers become null, and the service reports them.
    const numbers = lattice
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map(Number);
    parts.lattice = Object.fromEntries(numbers.map((number, i) => [CELL[i] ?? `${i}`, number]));
  }
  if ((target_property ?? ANY) !== ANY && target_value !== undefined) {
    parts.target = { property: target_property, value: target_value };
  }
  return Object.fromEntries(Object.entries(parts).filter(([, value]) => value !== undefined));
}

/** Return a few words for each constraint of a request. */
export function requirements({ composition, num_atoms, elements, spacegroup, lattice, target }) {
  const listed = (words, names) => names?.length > 0 && `${words} ${names.join(", ")}`;
  return [
    composition,
    num_atoms && `${num_atoms} atoms`,
    listed("with", elements?.include),
    listed("without", elements?.exclude),
    spacegroup && `space group ${spacegroup}`,
    lattice && `cell ${CELL.map((name) => lattice[name]).join(" ")}`,
    target && `${spoken(target.property).toLowerCase()} near ${target.value}`,
  ].filter(Boolean);
}

const symbols = (text = "") => text.split(/[\s,;]+/).filter(Boolean);
