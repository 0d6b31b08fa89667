// Dialog for the API key, which is kept for this tab only.
import { apiKey } from "./api.js";
import { h } from "./dom.js";

/** Make `button` and every 401 open the dialog; `onChange` is called after a change of the key. */
export function installKeyDialog(button, onChange) {
  const input = h("input", {
    type: "password",
    id: "api-key",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "api-key-hint",
  });
  const reason = h("p", { class: "fault", role: "alert" });
  const forget = h(
    "button",
    { type: "button", class: "danger", onclick: () => change("") },
    "Remove key",
  );
  const form = h(
    "form",
    {
      method: "dialog",
      class: "stack",
      onsubmit: (event) => {
        event.preventDefault();
        if (input.value.trim()) change(input.value.trim());
      },
    },
    h("h2", {}, "API key"),
    h(
      "div",
      {},
      h("label", { class: "label", for: "api-key" }, "Key"),
      input,
      h(
        "p",
        { class: "hint", id: "api-key-hint" },
        "The operator of this service creates a key with ",
        h("code", {}, "cdvae keys create NAME"),
        ". It stays in this tab and is gone when you close it.",
      ),
      reason,
    ),
    h(
      "div",
      { class: "row" },
      h("button", { type: "submit", class: "primary" }, "Use this key"),
      h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      forget,
    ),
  );
  const dialog = h("dialog", { "aria-label": "API key" }, form);
  document.body.append(dialog);

  function change(key) {
    apiKey.set(key);
    reason.textContent = "";
    dialog.close();
    onChange();
  }

  function open() {
    button.hidden = false;
    input.value = "";
    forget.hidden = apiKey.get() === null;
    if (!dialog.open) dialog.showModal();
  }

  button.hidden = apiKey.get() === null;
  button.addEventListener("click", open);
  window.addEventListener("cdvae:key-needed", () => {
    reason.textContent = apiKey.get() ? "The service does not know this key." : "";
    open();
  });
}
