// The list of the caller's jobs, newest first; unfinished jobs are updated.
import { call, pause } from "./api.js";
import { h, problemNotice, segments } from "./dom.js";
import { ago, jobTitle, kindName } from "./format.js";

const PAGE = 20;
const LOOK_EVERY = 3000;
const STATES = [
  ["", "All"],
  ["queued", "Queued"],
  ["running", "Running"],
  ["succeeded", "Succeeded"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
];

/** Return the cursor of the next page from the `Link` header; null on the last page. */
const nextPage = (response) => response.headers.get("Link")?.match(/<\/?([^>]*)>/)?.[1] ?? null;

/** Show the list in `outlet`. */
export async function jobsView(outlet, signal) {
  document.title = "Jobs · CDVAE";
  const list = h("div", { class: "stack", "aria-busy": "true" });
  const more = h(
    "button",
    {
      type: "button",
      hidden: true,
      onclick: () => {
        pages += 1;
        look();
      },
    },
    "Older jobs",
  );
  let state = "";
  let pages = 1;
  outlet.append(
    h(
      "div",
      { class: "stack jobs" },
      h(
        "div",
        { class: "row between" },
        h("h1", {}, "Jobs"),
        segments({
          name: "state",
          legend: "State",
          compact: true,
          value: "",
          options: STATES,
          onchange: (value) => {
            state = value;
            pages = 1;
            look();
          },
        }),
      ),
      list,
      more,
    ),
  );
  for (let i = 0; i < 3; i++) list.append(h("div", { class: "card skeleton" }));

  async function look() {
    try {
      const jobs = [];
      let next = `jobs?limit=${PAGE}${state ? `&state=${state}` : ""}`;
      for (let page = 0; page < pages && next; page++) {
        const response = await call(next, { signal });
        jobs.push(...(await response.json()).jobs);
        next = nextPage(response);
      }
      more.hidden = !next;
      list.replaceChildren(jobs.length ? table(jobs) : nothing());
    } catch (error) {
      if (error.name === "AbortError") return;
      list.replaceChildren(problemNotice(error));
    }
    list.removeAttribute("aria-busy");
  }

  function nothing() {
    return state
      ? h("div", { class: "card empty" }, h("h2", {}, "No jobs in this state"))
      : h(
          "div",
          { class: "card empty" },
          h("h2", {}, "No jobs yet"),
          h("p", {}, "Your jobs appear here and are kept for a week."),
          h("a", { class: "button primary", href: "#/" }, "Make a request"),
        );
  }

  async function cancel(job) {
    try {
      await call(`jobs/${job.id}`, { method: "DELETE" });
    } catch (error) {
      list.prepend(problemNotice(error));
      return;
    }
    await look();
  }

  function table(jobs) {
    const heads = ["Job", "State", "Progress", "Model", "Submitted", ""];
    return h(
      "table",
      { class: "card" },
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          heads.map((text) =>
            h("th", { scope: "col" }, text || h("span", { class: "unseen" }, "Action")),
          ),
        ),
      ),
      h(
        "tbody",
        {},
        jobs.map((job) => row(job)),
      ),
    );
  }

  function row(job) {
    const { fraction, samples_done: done, samples_total: total } = job.progress;
    const active = job.state === "queued" || job.state === "running";
    return h(
      "tr",
      {},
      h(
        "th",
        { scope: "row" },
        h("a", { href: `#/jobs/${job.id}` }, jobTitle(job)),
        h("span", { class: "small soft" }, `${kindName(job.kind)} · ${job.id.slice(0, 8)}`),
      ),
      h("td", {}, h("span", { class: "badge", "data-state": job.state }, job.state)),
      h(
        "td",
        { class: "number small", "data-label": "Progress" },
        active
          ? h("progress", {
              max: 1,
              value: fraction,
              "aria-label": `Progress of ${job.id.slice(0, 8)}`,
            })
          : null,
        job.queue_position ? `number ${job.queue_position} in the queue` : `${done} of ${total}`,
      ),
      h("td", { class: "small", "data-label": "Model" }, job.request.model),
      h("td", { class: "small", "data-label": "Submitted" }, ago(job.created_at)),
      h(
        "td",
        {},
        active
          ? h(
              "button",
              {
                type: "button",
                class: "compact danger",
                "aria-label": `Cancel ${jobTitle(job)}`,
                onclick: () => cancel(job),
              },
              "Cancel",
            )
          : null,
      ),
    );
  }

  for (;;) {
    // Do not replace a row while the pointer or the focus is in it.
    if (!document.hidden && !list.contains(document.activeElement)) await look();
    try {
      await pause(LOOK_EVERY, signal);
    } catch {
      return;
    }
  }
}
