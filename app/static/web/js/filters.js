// Filter and sort the crystals of a job.
import { h, uniqueId } from "./dom.js";
import { spoken } from "./format.js";
import { isOfWalk, isValid, isVariation } from "./record.js";

/** Return the quantities for sorting and filtering: name → [label, value of a record]. */
export function quantities(card, records) {
  const found = new Map();
  for (const [name, { unit }] of Object.entries(card?.properties ?? {}))
    found.set(name, [`${spoken(name)} (${unit})`, (record) => record.predicted[name]]);
  found.set("density", ["Density (g/cm³)", (record) => record.density]);
  found.set("min_distance", ["Shortest distance (Å)", (record) => record.min_distance]);
  found.set("volume", ["Volume per atom (Å³)", (record) => record.volume / record.num_atoms]);
  found.set("group", ["Space group", (record) => record.spacegroup?.number ?? null]);
  if (records.some(isOfWalk)) found.set("position", ["Position along path", (one) => one.position]);
  if (records.some(isVariation))
    found.set("distance", ["Distance from the original", (one) => one.distance]);
  if (records.some((record) => "rmse" in record))
    found.set("rmse", ["RMSE", (record) => record.rmse]);
  if (records.some((record) => "percentile" in record))
    found.set("percentile", ["Percentile", (record) => record.percentile]);
  return found;
}

/** Return the records that pass the filters in their order; missing values come last. */
export function chosen(records, wish, known) {
  const [, bounded] = known.get(wish.quantity) ?? [];
  const within = (record) => {
    const value = bounded?.(record) ?? null;
    const bare = wish.least === null && wish.most === null;
    return (
      bare ||
      (value !== null && value >= (wish.least ?? -Infinity) && value <= (wish.most ?? Infinity))
    );
  };
  const passed = records.filter(
    (record) =>
      (wish.validity === "all" || isValid(record) === (wish.validity === "valid")) &&
      (wish.group === "all" || String(record.spacegroup?.number ?? "none") === wish.group) &&
      (wish.novelty === "all" || record.novel === (wish.novelty === "novel")) &&
      (!wish.unique || record.duplicate_of === null) &&
      within(record),
  );
  if (wish.sort === "given") return passed;
  const [, value] = known.get(wish.sort);
  const sign = wish.descending ? -1 : 1;
  return passed.sort((a, b) => {
    const [p, q] = [value(a) ?? null, value(b) ?? null];
    if (p === null || q === null) return (p === null) - (q === null);
    return sign * (p - q);
  });
}

const NOTHING = {
  validity: "all",
  group: "all",
  novelty: "all",
  unique: false,
  sort: "given",
  descending: false,
  quantity: "density",
  least: null,
  most: null,
};

/** Return the controls {element, wish, update(records)}; `onchange` is called after every change. */
export function filterBar(card, onchange) {
  const wish = { ...NOTHING };
  const element = h("div", { class: "filters" });
  const set = (name, value) => {
    wish[name] = value;
    onchange();
  };
  const options = (name, all) =>
    all.map(([value, text]) =>
      h("option", { value, selected: String(wish[name]) === value }, text),
    );
  const select = (name, label, all) => {
    const id = uniqueId(name);
    return h(
      "div",
      {},
      h("label", { class: "label small soft", for: id }, label),
      h(
        "select",
        { id, name, onchange: (event) => set(name, event.target.value) },
        options(name, all),
      ),
    );
  };
  const bound = (name, label) =>
    h("input", {
      type: "number",
      step: "any",
      placeholder: label,
      "aria-label": label,
      value: wish[name] ?? "",
      oninput: (event) => set(name, event.target.value === "" ? null : event.target.valueAsNumber),
    });

  const groups = select("group", "Space group", []);
  const list = groups.querySelector("select");
  list.addEventListener("blur", () => listGroups());
  let records = [];
  let built = null; // names of the quantities in the menus

  /** Rebuild the controls only if the quantities changed: the reader may be using them. */
  function update(now) {
    records = now;
    const names = [...quantities(card, records)].map(([name, [label]]) => [name, label]);
    if (String(names) !== built) build(names);
    built = String(names);
    if (list !== document.activeElement) listGroups();
  }

  function listGroups() {
    const found = groupsOf(records);
    if (!found.some(([key]) => key === wish.group)) wish.group = "all";
    list.replaceChildren(...options("group", [["all", "All"], ...found]));
  }

  function build(names) {
    const direction = h(
      "button",
      {
        type: "button",
        class: "icon",
        "aria-label": "Largest first",
        "aria-pressed": String(wish.descending),
        title: "Largest first",
        onclick: () => {
          set("descending", !wish.descending);
          direction.setAttribute("aria-pressed", String(wish.descending));
        },
      },
      "⇅",
    );
    element.replaceChildren(
      h(
        "div",
        { class: "joined" },
        select("sort", "Sort by", [["given", "Job order"], ...names]),
        direction,
      ),
      select("validity", "Validity", [
        ["all", "All"],
        ["valid", "Valid"],
        ["invalid", "Not valid"],
      ]),
      groups,
      select("novelty", "Novelty", [
        ["all", "All"],
        ["novel", "New"],
        ["known", "In the training data"],
      ]),
      h(
        "div",
        { class: "range" },
        select("quantity", "Range of", names),
        bound("least", "from"),
        bound("most", "to"),
      ),
      h(
        "label",
        { class: "check" },
        h("input", {
          type: "checkbox",
          checked: wish.unique,
          onchange: (event) => set("unique", event.target.checked),
        }),
        "Hide duplicates",
      ),
    );
  }

  return { element, wish, update };
}

/** Return the space groups of the crystals, the most frequent first: [number, text]. */
function groupsOf(records) {
  const found = new Map();
  for (const { spacegroup } of records) {
    const key = String(spacegroup?.number ?? "none");
    const symbol = spacegroup?.symbol ?? "none";
    found.set(key, { symbol, count: (found.get(key)?.count ?? 0) + 1 });
  }
  return [...found]
    .sort((a, b) => b[1].count - a[1].count)
    .map(([key, { symbol, count }]) => [key, `${symbol} (${count})`]);
}
