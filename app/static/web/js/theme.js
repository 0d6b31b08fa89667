// Dark or light theme: that of the system until the reader chooses one.
import { svg } from "./dom.js";

const KEY = "cdvae-theme";
const SUN =
  "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5";
const MOON = "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z";

const root = document.documentElement;
const system = matchMedia("(prefers-color-scheme: dark)");

/** Make `button` switch the theme; `onChange` is called after every change. */
export function installTheme(button, onChange) {
  const show = (theme) => {
    root.dataset.theme = theme;
    const other = theme === "dark" ? "light" : "dark";
    button.setAttribute("aria-label", `Use the ${other} theme`);
    button.title = button.getAttribute("aria-label");
    const stroke = {
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.7,
      "stroke-linecap": "round",
    };
    const path = svg("path", { d: theme === "dark" ? SUN : MOON, ...stroke });
    button.replaceChildren(svg("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, path));
    onChange();
  };
  button.addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    localStorage.setItem(KEY, theme);
    show(theme);
  });
  system.addEventListener("change", () => {
    if (localStorage.getItem(KEY) === null) show(system.matches ? "dark" : "light");
  });
  show(root.dataset.theme);
}

/** Return the value of a custom property of the current theme, e.g. `--ink`. */
export const themeColor = (name) => getComputedStyle(root).getPropertyValue(name).trim();
