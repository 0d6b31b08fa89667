// The atoms, bonds and cells of a crystal in a 3Dmol.js view.
import { element } from "./elements.js";
import { atomsToDraw, cellEdges } from "./geometry.js";
import { themeColor } from "./theme.js";

const BALL = 0.36; // fraction of the covalent radius
const AXES = [
  ["a", "#d1495b"],
  ["b", "#3c9d5f"],
  ["c", "#3b7dd8"],
];
const BEYOND = 1; // Å from the end of a cell edge to its letter

/** Draw a crystal in a 3Dmol view; `isOther`: another crystal than before, so the view is reset. */
export function draw(view, crystal, { cell, bonds, supercell }, isOther) {
  view.removeAllModels();
  view.removeAllShapes();
  view.removeAllLabels();
  const atoms = atomsToDraw(crystal, supercell, bonds);
  const model = view.addModel();
  model.addAtoms(
    atoms.map(({ number, position: [x, y, z], bonds: joined }, index) => ({
      elem: element(number).symbol,
      x,
      y,
      z,
      serial: index,
      index,
      bonds: joined,
      bondOrder: joined.map(() => 1),
      hetflag: true,
    })),
  );
  for (const number of new Set(crystal.sites.map((site) => site.number))) {
    const { symbol, radius, color: color } = element(number);
    view.setStyle(
      { elem: symbol },
      {
        sphere: { radius: BALL * radius, color },
        ...(bonds ? { stick: { radius: 0.1, color } } : {}),
      },
    );
  }
  if (cell) drawCell(view, crystal.matrix, supercell);
  if (isOther) aim(view);
  view.render();
}

function drawCell(view, matrix, supercell) {
  const point = ([x, y, z]) => ({ x, y, z });
  const plain = themeColor("--cell-edge");
  for (const { axis, atOrigin, from, to } of cellEdges(matrix)) {
    const color = atOrigin ? AXES[axis][1] : plain;
    view.addCylinder({
      start: point(from),
      end: point(to),
      radius: atOrigin ? 0.045 : 0.025,
      color,
      fromCap: 1,
      toCap: 1,
    });
    if (atOrigin)
      view.addLabel(AXES[axis][0], {
        position: point(beyond(from, to)),
        fontColor: color,
        showBackground: false,
        bold: true,
        fontSize: 15,
        alignment: "center",
        inFront: true,
      });
  }
  if (supercell === 1) return;
  for (const { from, to } of cellEdges(matrix, supercell))
    view.addCylinder({
      start: point(from),
      end: point(to),
      radius: 0.02,
      color: plain,
      opacity: 0.6,
    });
}

function beyond(from, to) {
  const way = to.map((x, axis) => x - from[axis]);
  const length = Math.hypot(...way);
  return to.map((x, axis) => x + (BEYOND * way[axis]) / length);
}

/** Give the view the direction of the small drawings and fit the crystal in. */
export function aim(view) {
  view.setView([0, 0, 0, 0, 0, 0, 0, 1]);
  view.rotate(-24, "y");
  view.rotate(16, "x");
  view.zoomTo();
  view.zoom(1.45);
  view.render();
}
