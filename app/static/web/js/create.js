// The first view: choose a model and a task, fill in the request, see it as code.
import { call, getJson } from "./api.js";
import { problemNotice, h, announce, segments } from "./dom.js";
import { kindName } from "./format.js";
import { fieldsFor, KINDS } from "./fields.js";
import { modelPanel } from "./model.js";
import { buildRequest } from "./request.js";
import { snippetPanel } from "./snippets.js";

/** Earlier input; it outlives the view, so that the reader finds it again. */
const entered = { model: null, kind: "generate", values: {} };

/** Show the form in `outlet`. */
export async function createView(outlet, signal) {
  document.title = "New request · CDVAE";
  outlet.append(
    h("h1", {}, "New request"),
    h(
      "div",
      { class: "create", "aria-busy": "true" },
      h("div", { class: "card skeleton tall" }),
      h("div", { class: "card skeleton tall" }),
    ),
  );
  const body = outlet.lastChild;
  try {
    const list = await getJson("models", signal);
    body.replaceWith(list.models.length === 0 ? emptyStore() : page(list));
  } catch (error) {
    if (error.name === "AbortError") return;
    const again = h(
      "button",
      {
        type: "button",
        onclick: () => {
          outlet.replaceChildren();
          createView(outlet, signal);
        },
      },
      "Try again",
    );
    body.replaceWith(problemNotice(error, h("p", {}, again)));
  }
}

function emptyStore() {
  return h(
    "div",
    { class: "card empty" },
    h("h2", {}, "No models yet"),
    h(
      "p",
      {},
      "Train one and add it with ",
      h("code", {}, "cdvae models add"),
      "; it appears here by itself.",
    ),
  );
}

function page({ models, default: standard }) {
  const first = standard?.split("@")[0];
  const cards = [...models].sort((a, b) => (b.name === first) - (a.name === first));
  if (!cards.some((card) => card.name === entered.model)) entered.model = cards[0].name;

  const form = h("form", { class: "card stack request", onsubmit: submit });
  const aside = h("div", { class: "stack" });
  const fault = h("div", {});
  const fields = h("div", { class: "stack" });
  const button = h("button", { type: "submit", class: "primary" });
  let current;

  const choice = h(
    "fieldset",
    {},
    h("legend", {}, "Model"),
    h(
      "div",
      { class: "models" },
      cards.map((card) =>
        h(
          "label",
          { class: "model" },
          h("input", {
            type: "radio",
            name: "model",
            value: card.name,
            checked: card.name === entered.model,
            onchange: () => {
              entered.model = card.name;
              draw();
            },
          }),
          h(
            "span",
            {},
            h("strong", {}, card.name),
            h("span", { class: "small soft" }, card.dataset),
          ),
        ),
      ),
    ),
  );
  const task = segments({
    name: "task",
    legend: "Task",
    value: entered.kind,
    options: KINDS.map((kind) => [kind, kindName(kind)]),
    onchange: (kind) => {
      entered.kind = kind;
      draw();
    },
  });

  function draw() {
    const card = cards.find((one) => one.name === entered.model);
    current = fieldsFor(entered.kind, card, entered.values, refresh);
    fields.replaceChildren(...current.elements);
    fault.replaceChildren();
    button.textContent = kindName(entered.kind);
    const code = snippetPanel();
    aside.replaceChildren(modelPanel(card), code.element);
    current.code = code;
    refresh();
  }

  function refresh() {
    current.code.show(buildRequest(entered.kind, entered.model, current.read()));
  }

  async function submit(event) {
    event.preventDefault();
    fault.replaceChildren();
    current.clearFaults();
    button.disabled = true;
    try {
      const request = buildRequest(entered.kind, entered.model, current.read());
      const answer = await call(request.path, {
        method: "POST",
        body: request.body(),
        type: request.type,
      });
      const job = await answer.json();
      announce("The job is queued.");
      location.hash = `#/jobs/${job.id}`;
    } catch (error) {
      fault.replaceChildren(problemNotice(error));
      current.showFaults(error.errors ?? []);
      fault.scrollIntoView({ block: "nearest" });
    } finally {
      button.disabled = false;
    }
  }

  form.append(choice, task, fields, fault, button);
  draw();
  return h("div", { class: "create" }, form, aside);
}
