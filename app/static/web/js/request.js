// Convert the values of the fields to a request of the API.
import { holdsBoth, noFile } from "./cif.js";
import { required } from "./required.js";

const JSON_TYPE = "application/json";
const CIF_TYPE = "chemical/x-cif";

/**
 * Return {path, type, files, json, body()} of a POST. files: its CIFs {name, text}; json: a function
 * from one text per file to the body as an object, null for a raw CIF. Values that equal their default
 * are omitted.
 */
export function buildRequest(kind, model, values) {
  return { generate, reconstruct, optimize, interpolate, vary }[kind](model, values);
}

/** Return the object without undefined values. */
const known = (object) =>
  Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined));

const sampler = ({ sampler: name, sampler_steps: nfe }) => ({ sampler: known({ name, nfe }) });
const priority = (values) => (values.priority === "normal" ? {} : { priority: values.priority });

/** Return the fields that every JSON body ends with. */
const common = (values) => ({ seed: values.seed, ...sampler(values), ...priority(values) });

const crystals = (values) => values.cif ?? noFile("crystals.cif");

function withJson(path, files, json) {
  const body = () => JSON.stringify(json(files.map((file) => file.text)));
  return { path, type: JSON_TYPE, files, json, body };
}

function generate(model, values) {
  const { num_samples } = values;
  const json = known({ model, num_samples, ...required(values), ...common(values) });
  return withJson("generate", [], () => json);
}

function reconstruct(model, values) {
  const { num_candidates, seed } = values;
  const file = crystals(values);
  const chosen = { sampler: values.sampler, nfe: values.sampler_steps };
  const query = new URLSearchParams(
    known({ model, num_candidates, seed, ...chosen, ...priority(values) }),
  );
  const body = () => file.text;
  return { path: `reconstruct?${query}`, type: CIF_TYPE, files: [file], json: null, body };
}

function optimize(model, values) {
  const { property, direction, value, start, optimize_samples: num_samples } = values;
  const { steps, learning_rate } = values;
  const files = start === "structures" ? [crystals(values)] : [];
  return withJson(`optimize?${new URLSearchParams({ property })}`, files, (cifs) =>
    known({
      model,
      direction,
      value,
      num_samples,
      start: start === "structures" ? { structures: cifs.map((cif) => ({ cif })) } : start,
      ...required(values),
      steps,
      learning_rate,
      ...common(values),
    }),
  );
}

function interpolate(model, values) {
  const { num_points } = values;
  const { first = noFile("first.cif"), second = noFile("second.cif") } = values;
  return withJson("interpolate", holdsBoth(first) ? [first] : [first, second], (cifs) =>
    known({ model, structures: cifs.map((cif) => ({ cif })), num_points, ...common(values) }),
  );
}

function vary(model, values) {
  const { strength, num_samples } = values;
  const keep_composition = values.composition_kept === "yes" ? true : undefined;
  return withJson("variations", [crystals(values)], ([cif]) =>
    known({
      model,
      structure: { cif },
      strength,
      num_samples,
      keep_composition,
      ...common(values),
    }),
  );
}
