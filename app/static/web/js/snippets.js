// The current request as a curl command and as a Python program.
import { apiKey } from "./api.js";
import { copy, h, segments } from "./dom.js";

const address = (path) => new URL(path, document.baseURI).href;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Return the names of the variables for the texts of the files. */
const variables = (files) => files.map((_, i) => (files.length === 1 ? "cif" : `cif${i + 1}`));

/** Return the body as an object, with the name of a variable in place of each file's text. */
const outline = ({ json, files }) => json(variables(files).map((name) => `@${name}@`));

/** Return the code with these names as variables, which begin with `sign`. */
const unquoted = (code, sign) => code.replace(/"@(cif\d?)@"/g, (_, name) => `${sign}${name}`);

/** Return the request for curl; jq inserts CIFs into JSON. */
export function asCurl(request, key = apiKey.get()) {
  const { files } = request;
  const auth = key ? [`-H "Authorization: Bearer $CDVAE_API_KEY"`] : [];
  const parts = [
    `curl -s ${quoted(address(request.path))}`,
    ...auth,
    `-H 'Content-Type: ${request.type}'`,
  ];
  if (request.json === null)
    return [...parts, `--data-binary @${quoted(files[0].name)}`].join(" \\\n  ");
  const json = quoted(unquoted(JSON.stringify(outline(request)), "$"));
  if (files.length === 0) return [...parts, `-d ${json}`].join(" \\\n  ");
  const texts = variables(files).map((name, i) => `--rawfile ${name} ${quoted(files[i].name)}`);
  const made = [["jq -n", ...texts].join(" "), json].join(" \\\n  ");
  return `${made} |\n  ${[...parts, "--data-binary @-"].join(" \\\n  ")}`;
}

/** Return a JSON value as Python code. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, one]) => `"${name}": ${python(one)}`)
      .join(", ")}}`;
  return JSON.stringify(value);
}

/** Return the arguments of the client's method, with the files as variables. */
function clientArguments(request) {
  const names = variables(request.files);
  const list = `[${names.join(", ")}]`;
  const [path, search = ""] = request.path.split("?");
  const query = Object.fromEntries(new URLSearchParams(search));
  if (path === "reconstruct") {
    const { sampler, nfe, ...fields } = query;
    const number = (value) => (/^\d+$/.test(value) ? Number(value) : value);
    const chosen = { ...fields, sampler: { name: sampler, nfe: number(nfe) } };
    return { first: [names[0]], fields: mapped(chosen, number) };
  }
  const { structure, structures, start, ...fields } = outline(request);
  const first = structures ? [list] : structure ? [names[0]] : [];
  if (query.property) first.push(python(query.property));
  const from = start?.structures ? { start: list } : start ? { start: python(start) } : {};
  return { first, fields: { ...mapped(fields), ...from } };
}

/** Return the fields as Python code; `number` converts the strings of a query to numbers. */
function mapped(fields, number = (value) => value) {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, python(number(value))]),
  );
}

/** Return the request as a program that writes each crystal to a CIF file. */
export function asPython(request) {
  const path = request.path.split("?")[0];
  const method = path === "variations" ? "vary" : path;
  const { first, fields } = clientArguments(request);
  const words = [...first, ...Object.entries(fields).map(([name, value]) => `${name}=${value}`)];
  return [
    "from pathlib import Path",
    "",
    "from cdvae_client import Client  # sends $CDVAE_API_KEY, if it is set",
    "",
    ...variables(request.files).map(
      (name, i) => `${name} = Path(${JSON.stringify(request.files[i].name)})`,
    ),
    `with Client(${JSON.stringify(address(""))}) as client:`,
    `    job = client.${method}(`,
    ...words.map((word) => `        ${word},`),
    "    )",
    "    for crystal in job:",
    `        Path(f"{crystal.index:05}-{crystal.reduced_formula}.cif").write_text(crystal.cif)`,
  ].join("\n");
}

const LANGUAGES = { curl: asCurl, python: asPython };
let language = "curl";

/** Return a panel with the code of a request; `show(request)` updates it. */
export function snippetPanel() {
  const code = h("code", {});
  let request = null;
  const draw = () => {
    code.textContent = LANGUAGES[language](request);
  };
  const copied = h("span", { class: "small soft", "aria-hidden": "true" });
  const button = h(
    "button",
    {
      type: "button",
      class: "compact",
      onclick: async () => {
        await copy(code.textContent);
        copied.textContent = "Copied";
        setTimeout(() => {
          copied.textContent = "";
        }, 2000);
      },
    },
    "Copy",
  );
  const choice = segments({
    name: "language",
    legend: "Language",
    compact: true,
    value: language,
    options: [
      ["curl", "curl"],
      ["python", "Python"],
    ],
    onchange: (name) => {
      language = name;
      draw();
    },
  });
  const element = h(
    "section",
    { class: "card snippet", "aria-label": "The same request as code" },
    h(
      "div",
      { class: "row" },
      h("h2", {}, "As code"),
      choice,
      h("span", { class: "grow" }),
      copied,
      button,
    ),
    h("pre", { tabindex: "0", role: "region", "aria-label": "Code" }, code),
  );
  return {
    element,
    show(next) {
      request = next;
      draw();
    },
  };
}
