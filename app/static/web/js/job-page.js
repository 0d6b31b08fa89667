// The page of one job: progress, crystals as they arrive, result.
import { Problem, asProblem, call, download, getJson, optional, pause } from "./api.js";
import { announce, h, problemNotice } from "./dom.js";
import { jobEvents } from "./events.js";
import { jobTitle } from "./format.js";
import { gallery } from "./gallery.js";
import { inspector } from "./inspector.js";
import { isOver, jobHead } from "./job-head.js";
import { progressPanel } from "./progress.js";
import { charts, tiles } from "./summary.js";

const LOOK_EVERY = 2000;
const FILES = [
  ["cif", "CIF"],
  ["zip", "Zip"],
  ["json", "JSON"],
];

/** Return the status with newer progress; a job with progress is no longer queued. */
function withProgress(status, progress) {
  const begun = progress.fraction > 0 ? { state: "running", queue_position: null } : {};
  return { ...status, ...begun, progress };
}

/** Show a job in `body`; `given`: its input crystals. */
export class JobPage {
  constructor(body, signal, status, card, statistics, given) {
    Object.assign(this, { signal, status, card, statistics });
    this.records = [];
    this.header = h("header", { class: "job-head" });
    this.progress = progressPanel();
    this.notes = h("div", {});
    this.summary = h("div", { class: "stack" });
    this.chosen = inspector(status.id, card, given, signal);
    this.gallery = gallery(card, (record) => this.chosen.show(record));
    this.results = h(
      "div",
      { class: given.length ? "results wide" : "results" },
      this.gallery.element,
      this.chosen.element,
    );
    this.results.hidden = true;
    body.replaceChildren(
      this.header,
      this.notes,
      this.progress.element,
      this.summary,
      this.results,
    );
    document.title = `${jobTitle(status)} · CDVAE`;
    this.drawHeader();
  }

  /** Follow the job to its end and show the result. */
  async run() {
    if (!isOver(this.status)) {
      this.progress.show(this.status);
      await Promise.race([this.follow(), this.watchState()]);
    }
    this.progress.element.hidden = true;
    this.drawHeader();
    if (this.status.state === "failed") this.showFailure();
    else await this.showResult();
  }

  async follow() {
    for await (const { event, data } of jobEvents(this.status.id, this.signal)) {
      this.progress.interrupted(event === "interrupted");
      if (event === "crystal") this.arrived(data);
      if (event === "progress") this.moved(withProgress(this.status, data));
      if (event === "done") this.status = data;
    }
  }

  /** Poll state and queue position, which have no events; ends after `follow`. */
  async watchState() {
    while (!isOver(this.status)) {
      await pause(LOOK_EVERY, this.signal);
      const status = await optional(getJson(`jobs/${this.status.id}`, this.signal));
      // The job may have ended while the response was on its way.
      if (status && !isOver(status) && !isOver(this.status)) this.moved(status);
    }
  }

  moved(status) {
    const changed = status.state !== this.status.state;
    this.status = status;
    this.progress.show(status);
    if (changed) this.drawHeader();
  }

  /** Crystals arrive in groups; each group is drawn at once. */
  arrived(record) {
    this.records.push(record);
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.drawCrystals();
    });
  }

  drawCrystals() {
    this.results.hidden = this.records.length === 0;
    this.gallery.update([...this.records]);
  }

  async showResult() {
    const result = await getJson(`jobs/${this.status.id}/result`, this.signal);
    this.records = result.crystals;
    this.status = result.job;
    this.drawHeader(result.provenance);
    const { request } = this.status;
    this.summary.replaceChildren(
      ...tiles(request, result.metrics),
      ...charts(request, result, this.card, this.statistics),
    );
    if (this.records.length) this.drawCrystals();
    else
      this.notes.append(
        h(
          "div",
          { class: "card empty" },
          h("h2", {}, "No crystals"),
          h("p", {}, "The job was cancelled before it finished a crystal."),
        ),
      );
    announce(`The job is ${this.status.state}. ${this.records.length} crystals.`);
  }

  showFailure() {
    const { code, detail } = this.status.error;
    const problem = new Problem({ status: 0, title: "The job failed", detail });
    const more = h(
      "p",
      { class: "small soft" },
      "Error ",
      h("code", {}, code),
      " of job ",
      h("code", {}, this.status.id),
    );
    this.notes.replaceChildren(problemNotice(problem, more));
    if (this.records.length) this.drawCrystals();
  }

  drawHeader(provenance = null) {
    const buttons = isOver(this.status) ? this.downloads() : [this.cancelButton()];
    this.header.replaceChildren(...jobHead(this.status, provenance, buttons));
  }

  cancelButton() {
    const { id } = this.status;
    const button = h("button", { type: "button", class: "danger" }, "Cancel");
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = "Stopping…";
      await this.attempt(() => call(`jobs/${id}`, { method: "DELETE" }));
    });
    return button;
  }

  downloads() {
    const { id, state } = this.status;
    if (state === "failed") return [];
    return FILES.map(([form, label]) => {
      const save = () => download(`jobs/${id}/result?format=${form}`, `${id}.${form}`);
      const attributes = { type: "button", class: "compact", onclick: () => this.attempt(save) };
      return h("button", attributes, `Download ${label}`);
    });
  }

  /** Run the action and show the problem if it fails. */
  async attempt(act) {
    this.notes.replaceChildren();
    try {
      await act();
    } catch (error) {
      this.notes.replaceChildren(problemNotice(asProblem(error)));
      this.drawHeader();
    }
  }
}
