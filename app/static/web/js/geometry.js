// Geometry of crystals: cells, images at the border, supercells, bonds. Lengths in Å.
import { atomicNumber, element } from "./elements.js";

const AT_BORDER = 0.03; // fraction of an edge; an atom this close to a face is drawn on both faces
const LONGEST_BOND = 1.25; // × the sum of the covalent radii
const FIRST_SHELL = 1.25; // × the distance of the nearest neighbor of either atom
const AROUND = [-1, 0, 1].flatMap((i) =>
  [-1, 0, 1].flatMap((j) => [-1, 0, 1].map((k) => [i, j, k])),
);

const wrap = (x) => x - Math.floor(x + AT_BORDER);
const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]);

/** Return the Cartesian position (Å) of fractional coordinates; the rows of `matrix` are cell vectors. */
export const cartesian = (matrix, [u, v, w]) =>
  [0, 1, 2].map((axis) => u * matrix[0][axis] + v * matrix[1][axis] + w * matrix[2][axis]);

/**
 * Return a structure {matrix, sites: [{number, frac}]}.
 * The origin of a crystal is arbitrary; it is moved to the largest atom, so that equal crystals
 * look alike.
 */
export function structure(matrix, species, frac) {
  const radii = species.map((number) => element(number).radius);
  const origin = frac[radii.indexOf(Math.max(...radii))];
  return {
    matrix,
    sites: species.map((number, i) => ({
      number,
      frac: frac[i].map((x, axis) => wrap(x - origin[axis])),
    })),
  };
}

/** Return the structure of a record, whose CIF lists every atom of the cell (P1). */
export function structureOf(record) {
  const lines = record.cif.split("\n").map((line) => line.trim());
  const names = lines.filter((line) => line.startsWith("_atom_site_"));
  const first = lines.findLastIndex((line) => line.startsWith("_atom_site_")) + 1;
  const column = (name) => names.indexOf(`_atom_site_${name}`);
  const [kind, x, y, z] = ["type_symbol", "fract_x", "fract_y", "fract_z"].map(column);
  const rows = lines.slice(first, first + record.num_atoms).map((line) => line.split(/\s+/));
  const species = rows.map((row) => atomicNumber(row[kind].match(/^[A-Za-z]+/)[0]));
  return structure(
    record.lattice.matrix,
    species,
    rows.map((row) => [row[x], row[y], row[z]].map(Number)),
  );
}

/** Return for each site the distance of its nearest bonded neighbor or image; Infinity without one. */
function nearest({ matrix, sites }) {
  const points = sites.map((site) => cartesian(matrix, site.frac));
  const shifts = AROUND.map((shift) => cartesian(matrix, shift));
  return points.map((point, i) => {
    let least = Infinity;
    points.forEach((other, j) => {
      const limit =
        LONGEST_BOND * (element(sites[i].number).radius + element(sites[j].number).radius);
      for (const shift of shifts) {
        const d = distance(
          point,
          other.map((x, axis) => x + shift[axis]),
        );
        if (d > 0.1 && d <= limit && d < least) least = d;
      }
    });
    return least;
  });
}

/**
 * Return the atoms to draw for n × n × n cells: {number, position, bonds: [index, …]}.
 * Two atoms have a bond if their distance is at most 1.25 × the sum of the covalent radii and at most
 * 1.25 × the distance of the nearest neighbor of each: the first shell, not the second.
 */
export function atomsToDraw(crystal, n = 1, withBonds = true) {
  const { matrix, sites } = crystal;
  const atoms = [];
  sites.forEach((site, index) => {
    const steps = site.frac.map((x) =>
      Array.from({ length: Math.abs(x) <= AT_BORDER ? n + 1 : n }, (_, i) => i),
    );
    for (const i of steps[0])
      for (const j of steps[1])
        for (const k of steps[2]) {
          const position = cartesian(matrix, [
            site.frac[0] + i,
            site.frac[1] + j,
            site.frac[2] + k,
          ]);
          atoms.push({ number: site.number, site: index, position, bonds: [] });
        }
  });
  if (withBonds) join(atoms, nearest(crystal));
  return atoms;
}

function join(atoms, shortest) {
  const radii = atoms.map((atom) => element(atom.number).radius);
  for (let i = 0; i < atoms.length; i++) {
    for (let j = i + 1; j < atoms.length; j++) {
      const limit = Math.min(
        LONGEST_BOND * (radii[i] + radii[j]),
        FIRST_SHELL * Math.min(shortest[atoms[i].site], shortest[atoms[j].site]),
      );
      const d = distance(atoms[i].position, atoms[j].position);
      if (d > 0.1 && d <= limit) {
        atoms[i].bonds.push(j);
        atoms[j].bonds.push(i);
      }
    }
  }
}

/** Return the 12 edges of n × n × n cells as pairs of points; the first three are a, b, c. */
export function cellEdges(matrix, n = 1) {
  const edges = [];
  for (let axis = 0; axis < 3; axis++) {
    const [p, q] = [0, 1, 2].filter((one) => one !== axis);
    for (const [i, j] of [
      [0, 0],
      [1, 0],
      [0, 1],
      [1, 1],
    ]) {
      const from = [0, 0, 0];
      from[p] = n * i;
      from[q] = n * j;
      const to = [...from];
      to[axis] = n;
      edges.push({
        axis,
        atOrigin: i === 0 && j === 0,
        from: cartesian(matrix, from),
        to: cartesian(matrix, to),
      });
    }
  }
  return edges.sort((a, b) => b.atOrigin - a.atOrigin || a.axis - b.axis);
}

/** Return the center of n × n × n cells. */
export const centre = (matrix, n = 1) => cartesian(matrix, [n / 2, n / 2, n / 2]);
