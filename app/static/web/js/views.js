// 3D views of a crystal and its inputs: the original, or both ends of its path.
import { h } from "./dom.js";
import { structure } from "./geometry.js";
import { became, sourcesOf } from "./record.js";
import { crystalView } from "./viewer.js";

function pane(signal) {
  const view = crystalView(signal);
  const caption = h("figcaption", {});
  return { view, caption, element: h("figure", {}, view.element, caption) };
}

/**
 * Return {element, show(record, crystal, options), reset()}; given: the input crystals of the job.
 * `show` returns the structures that it draws.
 */
export function crystalViews(given, signal) {
  const inputs = given.map(({ lattice, atomic_numbers, frac_coords }) =>
    structure(lattice, atomic_numbers, frac_coords),
  );
  const result = pane(signal);
  result.element.classList.add("result");
  const sides = []; // left and right of the result; created when needed: each has a WebGL context
  const element = h("div", { class: "views" }, result.element);

  function side(place) {
    if (!sides[place]) {
      sides[place] = pane(signal);
      if (place === 0) element.prepend(sides[place].element);
      else element.append(sides[place].element);
    }
    return sides[place];
  }

  function show(record, crystal, options) {
    const shown = sourcesOf(record).filter((number) => number in inputs);
    element.dataset.count = 1 + shown.length;
    result.view.show(crystal, record.reduced_formula, options);
    result.caption.textContent = shown.length ? became(record) : "";
    sides.forEach((one, place) => {
      one.element.hidden = place >= shown.length;
    });
    shown.forEach((number, place) => {
      const { label } = given[number];
      const { view, caption } = side(place);
      view.show(inputs[number], label, options);
      caption.textContent = `Input: ${label}`;
    });
    return [crystal, ...shown.map((number) => inputs[number])];
  }

  function reset() {
    for (const { view } of [result, ...sides]) view.reset();
  }

  return { element, show, reset };
}
