// Create elements from a name, attributes and children; no text is parsed as HTML.

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

/** Return an HTML element; `onclick` etc. are listeners, null and false attributes are omitted. */
export const h = (tag, attributes = {}, ...children) =>
  fill(document.createElement(tag), attributes, children);

/** Return an SVG element. */
export const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG, tag), attributes, children);

/** Announce a sentence to screen readers. */
export function announce(text) {
  document.getElementById("announcer").textContent = text;
}

/** Copy a text to the clipboard; without TLS only the deprecated command works (except localhost). */
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
/** Return an id that is unique on the page. */
export const uniqueId = (name) => `${name}-${++ids}`;

/** Return radio buttons in a row. options: [[value, label], …]. */
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

/** Return an error message; screen readers read it immediately. */
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
