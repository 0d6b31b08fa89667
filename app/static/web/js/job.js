// Load a job and show its page, or the reason why it has none.
import { Problem, asProblem, getJson, optional } from "./api.js";
import { h, problemNotice } from "./dom.js";
import { JobPage } from "./job-page.js";

/** Show the job with this id in `outlet`. */
export async function jobView(outlet, signal, id) {
  document.title = "Job · CDVAE";
  const body = h(
    "div",
    { class: "stack job", "aria-busy": "true" },
    h("div", { class: "card skeleton tall" }),
  );
  outlet.append(body);
  try {
    const status = await getJson(`jobs/${id}`, signal);
    const [card, statistics, given] = await Promise.all([
      optional(getJson(`models/${status.request.model}`, signal)),
      optional(getJson(`models/${status.request.model}/statistics`, signal)),
      status.request.structures?.length
        ? getJson(`jobs/${id}/structures`, signal).then((answer) => answer.structures)
        : [],
    ]);
    await new JobPage(body, signal, status, card, statistics, given).run();
  } catch (error) {
    if (error.name === "AbortError") return;
    body.replaceChildren(
      h("h1", {}, "Job"),
      problemNotice(asProblem(error)),
      h("p", {}, h("a", { href: "#/jobs" }, "All jobs")),
    );
    if (!(error instanceof Problem)) throw error;
  } finally {
    body.removeAttribute("aria-busy");
  }
}
