// Elements from a name, attributes and children; nothing is ever parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children
      .flat(Infinity)
      .filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

/** An HTML element; `onclick` and the like are listeners, null and false attributes are left out. */
export const h = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Says a sentence to those who listen rather than look. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Puts a text on the clipboard; beyond localhost and without TLS there is only the old way. */
export async function copy(text) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text);
  else {
    const area = h("textarea", { value: text, class: "unseen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  announce("Copied.");
}

let ids = 0;
/** An id that nothing else on the page has. */
export const uniqueId = (name) => `${name}-${++ids}`;

/** A choice of one out of few, side by side. options: [[value, label], …]. */
export function segments({ name, legend, options, value, onchange, compact = false }) {
  const group = uniqueId(name);
  const labels = options.map(([key, label]) =>
    h(
      "label",
      {},
      h("input", {
        type: "radio",
        name: group,
        value: key,
        checked: key === value,
        onchange: () => onchange(key),
      }),
      label,
    ),
  );
  const heading = h("legend", { class: compact ? "unseen" : null }, legend);
  return h(
    "fieldset",
    { "data-field": name },
    heading,
    h("div", { class: compact ? "segments compact" : "segments" }, labels),
  );
}

/** A block that says what went wrong; the first thing that a screen reader reads. */
export function problemNotice(problem, action = null) {
  return h(
    "div",
    { class: "notice bad", role: "alert" },
    h("strong", {}, problem.title),
    h("p", {}, problem.detail),
    problem.errors.length > 1
      ? h(
          "ul",
          {},
          problem.errors.map((error) => h("li", {}, error.detail)),
        )
      : null,
    problem.requestId
      ? h("p", { class: "small soft" }, "Request ", h("code", {}, problem.requestId))
      : null,
    action,
  );
}
