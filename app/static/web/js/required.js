// What the crystals of a request must be: the fields, and the part of the request that they make.
import { h } from "./dom.js";
import { spoken } from "./format.js";

const CELL = ["a", "b", "c", "alpha", "beta", "gamma"];
const ANY = "any";

/** Which field is meant by a JSON pointer of the service; null for one of another part. */
export function requiredField(pointer) {
  const [, first, second] = pointer.split("/");
  if (first === "elements") return second === "exclude" ? "exclude" : "include";
  if (first === "target") return second === "property" ? "target_property" : "target_value";
  return first === "lattice" ? "lattice" : null;
}

/** The fields of new crystals, folded away until they are wanted. */
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

/** The fields of a search, which may require atoms alone. */
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

/** The constraints of a request from the values of the fields; nothing for an empty field. */
export function required(values) {
  const { composition, num_atoms, spacegroup, lattice, target_property, target_value } = values;
  const parts = { composition, num_atoms, spacegroup };
  const include = symbols(values.include);
  const exclude = symbols(values.exclude);
  if (include.length + exclude.length > 0) parts.elements = { include, exclude };
  if (lattice !== undefined) {
    // What is no number becomes null, and the service says that it has to be one.
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

/** What a request requires, in a few words each. */
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
