// Interactive 3D view of one crystal with 3Dmol.js, which is loaded for the first view.
import { h } from "./dom.js";
import { drawing } from "./drawing.js";
import { aim, draw } from "./scene.js";

const STEP = 12; // degrees per key press
const KEYS = {
  ArrowLeft: (view) => view.rotate(-STEP, "vy"),
  ArrowRight: (view) => view.rotate(STEP, "vy"),
  ArrowUp: (view) => view.rotate(-STEP, "vx"),
  ArrowDown: (view) => view.rotate(STEP, "vx"),
  "+": (view) => view.zoom(1.15),
  "=": (view) => view.zoom(1.15),
  "-": (view) => view.zoom(1 / 1.15),
};

const LOOK = {
  backgroundAlpha: 0,
  backgroundColor: "white",
  antialias: true,
  disableFog: true,
  orthographic: true,
};

const context = (canvas) => canvas?.getContext("webgl2") ?? canvas?.getContext("webgl");

/** Release the WebGL context of a canvas: a browser has about sixteen. */
const freed = (canvas) => context(canvas)?.getExtension("WEBGL_lose_context")?.loseContext();

function hasWebGl() {
  const canvas = document.createElement("canvas");
  const found = Boolean(context(canvas));
  freed(canvas);
  return found;
}

const library = () => import("../../3dmol/3Dmol.es6-min.js");

/**
 * Return a view {element, show(structure, name, options), reset()}; options: {cell, bonds, supercell}.
 * Without WebGL the view shows a flat drawing with a note.
 */
export function crystalView(signal) {
  const stage = h("div", { class: "stage" });
  const element_ = h("div", { class: "view", tabindex: "0", role: "img" }, stage);
  let shown = null; // to draw: [structure, name, options]
  let drawn = null; // the drawn structure: the direction is reset only for another one
  let view = null;

  async function start() {
    if (!hasWebGl()) return;
    const { createViewer } = await library();
    view = createViewer(stage, LOOK);
    const resized = new ResizeObserver(() => view.resize());
    resized.observe(stage);
    signal.addEventListener("abort", () => {
      resized.disconnect();
      freed(stage.querySelector("canvas"));
    });
  }

  const started = start();

  async function show(...wanted) {
    shown = wanted;
    element_.setAttribute(
      "aria-label",
      `Crystal structure of ${wanted[1]}. Arrow keys rotate, plus and minus zoom, 0 resets the view.`,
    );
    await started;
    if (signal.aborted || shown !== wanted) return;
    if (!view)
      stage.replaceChildren(
        drawing(wanted[0]),
        h("p", { class: "hint" }, "WebGL is not available: the crystal is drawn flat."),
      );
    else {
      const isOther = drawn?.[0] !== wanted[0] || drawn[2].supercell !== wanted[2].supercell;
      draw(view, wanted[0], wanted[2], isOther);
      drawn = wanted;
    }
    element_.dataset.ready = wanted[1];
  }

  function reset() {
    if (view && shown) aim(view);
  }

  element_.addEventListener("keydown", (event) => {
    const act = KEYS[event.key] ?? (event.key === "0" ? reset : null);
    if (!act || !view || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    act(view);
    view.render();
  });
  // The wheel scrolls the page until the view has the focus.
  element_.addEventListener(
    "wheel",
    (event) => {
      if (document.activeElement !== element_) event.stopImmediatePropagation();
    },
    { capture: true },
  );
  element_.addEventListener("pointerdown", () => element_.focus({ preventScroll: true }));
  window.addEventListener(
    "cdvae:theme",
    () => {
      if (shown) show(...shown);
    },
    { signal },
  );
  return { element: element_, show, reset };
}
