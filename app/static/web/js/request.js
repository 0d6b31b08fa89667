// From the values of the fields to a request of the API.
import { required } from "./required.js";

const JSON_TYPE = "application/json";
const CIF_TYPE = "chemical/x-cif";

/**
 * {path, type, json, file, body()} of a POST. json: the body as an object, null for a raw CIF;
 * file: the {name, text} that belongs to it, if any. Values at their default are left out.
 */
export function buildRequest(kind, model, values) {
  return { generate, reconstruct, optimize }[kind](model, values);
}

/** The object without what is undefined. */
const known = (object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const sampler = ({ sampler: name, sampler_steps: steps }) => ({ sampler: known({ name, steps }) });
const priority = (values) => (values.priority === "normal" ? {} : { priority: values.priority });

function withJson(path, json, file = null) {
  return { path, type: JSON_TYPE, json, file, body: () => JSON.stringify(json) };
}

function generate(model, values) {
  const { num_samples, seed } = values;
  return withJson(
    "generate",
    known({
      model,
      num_samples,
      ...required(values),
      seed,
      ...sampler(values),
      ...priority(values),
    }),
  );
}

function reconstruct(model, values) {
  const { cif: file = null, num_candidates, seed } = values;
  const chosen = { sampler: values.sampler, steps: values.sampler_steps };
  const query = new URLSearchParams(
    known({ model, num_candidates, seed, ...chosen, ...priority(values) }),
  );
  return {
    path: `reconstruct?${query}`,
    type: CIF_TYPE,
    json: null,
    file,
    body: () => file?.text ?? "",
  };
}

function optimize(model, values) {
  const {
    property,
    direction,
    value,
    start,
    cif: file = null,
    optimize_samples: num_samples,
    steps,
    learning_rate,
    seed,
  } = values;
  const goal = known({ direction, value });
  const from = start === "structures" ? { structures: [{ cif: file?.text ?? "" }] } : start;
  const json = known({
    model,
    ...goal,
    num_samples,
    start: from,
    ...required(values),
    steps,
    learning_rate,
    seed,
    ...sampler(values),
    ...priority(values),
  });
  return withJson(
    `optimize?${new URLSearchParams({ property })}`,
    json,
    start === "structures" ? file : null,
  );
}
