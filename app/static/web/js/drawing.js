// Small drawing of a crystal without WebGL: spheres sorted by depth, bonds, the cell.
import { svg } from "./dom.js";
import { element } from "./elements.js";
import { atomsToDraw, cellEdges, centre } from "./geometry.js";

const TURN = { yaw: -0.42, pitch: 0.28 }; // radians; the 3D view starts with the same direction
const SIZE = 0.36; // fraction of the covalent radius
const FEW = 400; // atoms; larger crystals are drawn without bonds

const [SIN_Y, COS_Y, SIN_P, COS_P] = [
  Math.sin(TURN.yaw),
  Math.cos(TURN.yaw),
  Math.sin(TURN.pitch),
  Math.cos(TURN.pitch),
];

/** Rotate a point: x points right, y down, z towards the reader. */
function turned([x, y, z], [cx, cy, cz]) {
  const [dx, dy, dz] = [x - cx, y - cy, z - cz];
  const right = COS_Y * dx + SIN_Y * dz;
  const near = COS_Y * dz - SIN_Y * dx;
  return [right, -(COS_P * dy - SIN_P * near), SIN_P * dy + COS_P * near];
}

/** Return an SVG element with the unit cell of a structure. */
export function drawing(crystal) {
  const middle = centre(crystal.matrix);
  const atoms = atomsToDraw(crystal, 1, crystal.sites.length <= FEW).map((atom) => ({
    ...atom,
    ...element(atom.number),
    at: turned(atom.position, middle),
  }));
  const lines = cellEdges(crystal.matrix).map(({ from, to }) => [
    turned(from, middle),
    turned(to, middle),
  ]);
  const reach = ([x, y], r = 0) => Math.max(Math.abs(x), Math.abs(y)) + r;
  const extent =
    0.1 +
    Math.max(
      ...lines.flat().map((point) => reach(point)),
      ...atoms.map((atom) => reach(atom.at, SIZE * atom.radius)),
    );

  const parts = lines.map(([a, b]) => ({ depth: (a[2] + b[2]) / 2, element: line("edge", a, b) }));
  for (const [i, atom] of atoms.entries()) {
    parts.push({ depth: atom.at[2], element: ball(atom) });
    for (const j of atom.bonds.filter((other) => other > i)) {
      const other = atoms[j];
      const half = atom.at.map((x, axis) => (x + other.at[axis]) / 2);
      for (const end of [atom, other])
        parts.push({
          depth: Math.min(end.at[2], half[2]) - 0.05,
          element: line("bond", end.at, half, end.color),
        });
    }
  }
  parts.sort((a, b) => a.depth - b.depth);
  return svg(
    "svg",
    {
      class: "drawing",
      viewBox: `${-extent} ${-extent} ${2 * extent} ${2 * extent}`,
      "aria-hidden": "true",
    },
    parts.map((part) => part.element),
  );
}

const line = (kind, a, b, color = null) =>
  svg("line", {
    class: kind,
    stroke: color,
    x1: a[0].toFixed(2),
    y1: a[1].toFixed(2),
    x2: b[0].toFixed(2),
    y2: b[1].toFixed(2),
  });

function ball({ at, radius, color }) {
  const r = SIZE * radius;
  const [x, y] = at;
  return svg(
    "g",
    {},
    svg("circle", {
      class: "ball",
      cx: x.toFixed(2),
      cy: y.toFixed(2),
      r: r.toFixed(2),
      fill: color,
    }),
    svg("circle", {
      class: "shine",
      cx: (x - 0.32 * r).toFixed(2),
      cy: (y - 0.34 * r).toFixed(2),
      r: (0.34 * r).toFixed(2),
    }),
  );
}
