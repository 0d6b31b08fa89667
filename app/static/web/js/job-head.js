// The head of a job's page: title, state, actions.
import { h } from "./dom.js";
import { ago, duration, jobTitle, kindName } from "./format.js";
import { requirements } from "./required.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

/** Return whether the job has reached a final state. */
export const isOver = ({ state }) => FINAL.has(state);

/** Return the distances from the input crystals in a few words. */
function reach({ num_points, strength, keep_composition }) {
  return [
    num_points && `${num_points} points`,
    strength && `strength ${strength}`,
    keep_composition && "composition kept",
  ].filter(Boolean);
}

/** Return the parts of the head; provenance: of the result, or null. */
export function jobHead(status, provenance, buttons) {
  const { id, kind, state, request } = status;
  const { name, nfe } = request.sampler;
  const facts = [
    ...requirements(request),
    ...reach(request),
    request.model,
    `${name}, ${nfe} NFE`,
    `seed ${request.seed}`,
  ];
  if (provenance) {
    const { sample, check } = provenance.seconds;
    facts.push(`${duration(sample + check)} on ${provenance.device}`);
  }
  const path = ` / ${kindName(kind)} / ${id.slice(0, 8)}`;
  const title = [
    h("h1", {}, jobTitle(status)),
    h("span", { class: "badge", "data-state": state }, state),
  ];
  const words = facts.map((text) => h("span", {}, text));
  return [
    h(
      "div",
      {},
      h("p", { class: "small soft" }, h("a", { href: "#/jobs" }, "Jobs"), path),
      h("div", { class: "row" }, title),
      h("p", { class: "small soft facts-line" }, words, ago(status.created_at)),
    ),
    h("div", { class: "row" }, buttons),
  ];
}
