// The present request as a command and as a program, to be copied.
import { apiKey } from "./api.js";
import { copy, h, segments } from "./dom.js";

const DEFAULT_FILE = "crystals.cif";
const PLACE = "@cif@"; // stands for the text of the file, which the reader has as a file

const address = (path) => new URL(path, document.baseURI).href;
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const fileName = (request) => request.file?.name ?? DEFAULT_FILE;

/** The JSON body with the text of the file replaced by `stand`, as the language at hand says it. */
function jsonWith(request, stand) {
  const json = structuredClone(request.json);
  if (json.start?.structures) json.start.structures = [{ cif: PLACE }];
  return JSON.stringify(json).replace(`"${PLACE}"`, stand);
}

/** The request for curl; a CIF inside JSON is put there by jq. */
export function asCurl(request, key = apiKey.get()) {
  const auth = key ? [`-H "Authorization: Bearer $CDVAE_API_KEY"`] : [];
  const parts = [
    `curl -s ${quoted(address(request.path))}`,
    ...auth,
    `-H 'Content-Type: ${request.type}'`,
  ];
  if (request.json === null)
    return [...parts, `--data-binary @${quoted(fileName(request))}`].join(" \\\n  ");
  if (!request.json.start?.structures)
    return [...parts, `-d ${quoted(JSON.stringify(request.json))}`].join(" \\\n  ");
  const made = `jq -n --rawfile cif ${quoted(fileName(request))} ${quoted(jsonWith(request, "$cif"))}`;
  return `${made} |\n  ${[...parts, "--data-binary @-"].join(" \\\n  ")}`;
}

/** A Python value from a JSON one. */
function python(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, one]) => `"${name}": ${python(one)}`)
      .join(", ")}}`;
  return value === PLACE ? "cif" : JSON.stringify(value);
}

/** The request as a program that waits for the job and keeps its crystals. */
export function asPython(request, key = apiKey.get()) {
  const { file, json } = request;
  const reads = json === null || Boolean(json.start?.structures);
  const body = json && reads ? { ...json, start: { structures: [{ cif: PLACE }] } } : json;
  const client = key
    ? [
        `headers = {"Authorization": f"Bearer {os.environ['CDVAE_API_KEY']}"}`,
        `client = httpx.Client(base_url="${address("")}", headers=headers)`,
      ]
    : [`client = httpx.Client(base_url="${address("")}")`];
  const post =
    json === null
      ? [
          `answer = client.post("${request.path}", content=cif, headers={"Content-Type": "${request.type}"})`,
        ]
      : [`answer = client.post("${request.path}", json=request)`];
  return [
    ...(key ? ["import os"] : []),
    "from pathlib import Path",
    "",
    "import httpx",
    "",
    ...(reads ? [`cif = Path(${JSON.stringify(file?.name ?? DEFAULT_FILE)}).read_text()`] : []),
    ...(body ? [`request = ${python(body)}`] : []),
    ...client,
    ...post,
    "job = answer.raise_for_status().json()",
    `while job["state"] in ("queued", "running"):`,
    `    job = client.get(f"jobs/{job['id']}", headers={"Prefer": "wait=30"}, timeout=60).json()`,
    `crystals = client.get(f"jobs/{job['id']}/result", params={"format": "cif"})`,
    `Path("result.cif").write_text(crystals.raise_for_status().text)`,
  ].join("\n");
}

const LANGUAGES = { curl: asCurl, python: asPython };
let language = "curl";

/** A panel with the code of a request; `show(request)` renews it. */
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
