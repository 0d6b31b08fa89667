// The crystals of a job as tiles; the selected crystal is shown in 3D.
import { h } from "./dom.js";
import { drawing } from "./drawing.js";
import { chosen, filterBar, quantities } from "./filters.js";
import { counted, fixed, formula, spaceGroup } from "./format.js";
import { structureOf } from "./geometry.js";
import { whereabouts } from "./record.js";

const PAGE = 60;
const MOVES = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity };

/** Return a gallery {element, update(records)}; `onchoose` is called with the selected record. */
export function gallery(card, onchoose) {
  const filters = filterBar(card, () => {
    limit = PAGE;
    draw();
  });
  const heading = h("h2", { id: "crystals" }, "Crystals");
  const count = h("p", { class: "soft small", role: "status" });
  const list = h("div", {
    class: "tiles",
    role: "listbox",
    "aria-labelledby": "crystals",
    onkeydown: move,
  });
  const more = h(
    "button",
    {
      type: "button",
      onclick: () => {
        limit += PAGE;
        draw();
      },
    },
    "Show more",
  );
  const tiles = new Map(); // record → tile
  let records = [];
  let shown = [];
  let limit = PAGE;
  let current = null;

  function tile(record) {
    const known = tiles.get(record);
    if (known) return known;
    const place = whereabouts(record);
    const made = h(
      "div",
      { class: "tile", role: "option", onclick: () => choose(record), "data-index": record.index },
      h("div", { class: "picture" }),
      h("strong", {}, formula(record.reduced_formula)),
      h("span", { class: "small soft" }, spaceGroup(record.spacegroup)),
      place && h("span", { class: "small soft place" }, place),
      h("span", { class: "small number" }, headline(record, card)),
      marks(record),
    );
    tiles.set(record, made);
    seen.observe(made);
    return made;
  }

  // A tile gets its drawing when it comes near the window.
  const seen = new IntersectionObserver(
    (entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        seen.unobserve(target);
        const record = records.find((one) => String(one.index) === target.dataset.index);
        if (record) target.querySelector(".picture").append(drawing(structureOf(record)));
      }
    },
    { rootMargin: "300px" },
  );

  function draw() {
    shown = chosen(records, filters.wish, quantities(card, records));
    count.textContent =
      shown.length === records.length
        ? counted(records.length, "crystal")
        : `${shown.length} of ${counted(records.length, "crystal")}`;
    list.replaceChildren(...shown.slice(0, limit).map(tile));
    if (shown.length === 0 && records.length > 0)
      list.replaceChildren(h("p", { class: "soft none" }, "No crystal matches these filters."));
    more.hidden = shown.length <= limit;
    if (!shown.includes(current)) current = shown[0] ?? null;
    mark();
  }

  function mark() {
    for (const [record, element] of tiles) {
      element.setAttribute("aria-selected", String(record === current));
      element.tabIndex = record === current ? 0 : -1;
    }
    onchoose(current);
  }

  function choose(record) {
    current = record;
    mark();
    tiles.get(record).focus({ preventScroll: true });
  }

  function move(event) {
    const row = Math.max(1, Math.round(list.clientWidth / (list.firstChild?.offsetWidth || 1)));
    const step = { ...MOVES, ArrowDown: row, ArrowUp: -row }[event.key];
    if (step === undefined || !current) return;
    event.preventDefault();
    const place = Math.max(
      0,
      Math.min(Math.min(shown.length, limit) - 1, shown.indexOf(current) + step),
    );
    choose(shown[place]);
    tiles.get(current).scrollIntoView({ block: "nearest" });
  }

  function update(now) {
    const before = current?.index;
    const hadFocus = list.contains(document.activeElement);
    records = now;
    const kept = new Set(records);
    for (const [record, element] of tiles) {
      if (kept.has(record)) continue;
      seen.unobserve(element);
      tiles.delete(record);
    }
    current = records.find((record) => record.index === before) ?? null;
    filters.update(records);
    draw();
    if (hadFocus) tiles.get(current)?.focus({ preventScroll: true });
  }

  const element = h(
    "section",
    { class: "stack gallery", "aria-labelledby": "crystals" },
    h("div", { class: "row" }, heading, count),
    filters.element,
    list,
    more,
  );
  return { element, update };
}

/** Return the number that a tile shows. */
function headline(record, card) {
  if ("matched" in record) return record.matched ? `RMSE ${fixed(record.rmse, 3)}` : "no match";
  const [name, value] = Object.entries(record.predicted)[0] ?? [];
  return name
    ? `${fixed(value)} ${card?.properties[name]?.unit ?? ""}`
    : `${fixed(record.density)} g/cm³`;
}

function marks(record) {
  const valid = record.valid.structure && record.valid.composition;
  const words = [
    valid ? null : ["bad", record.valid.structure ? "composition" : "structure"],
    record.novel ? ["good", "new"] : null,
    record.duplicate_of === null ? null : ["", `repeats ${record.duplicate_of}`],
  ];
  return h(
    "span",
    { class: "row marks" },
    words
      .filter(Boolean)
      .map(([state, text]) =>
        h("span", { class: "badge", "data-state": state }, state === "bad" ? `✕ ${text}` : text),
      ),
  );
}
