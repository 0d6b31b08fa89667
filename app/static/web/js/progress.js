// Progress of a job, also for screen readers.
import { announce, h } from "./dom.js";
import { duration, whole } from "./format.js";

const SAY_EVERY = 0.25; // fraction of the job

/** Return a panel {element, show(status), interrupted(flag)}. */
export function progressPanel() {
  const bar = h("progress", { max: 1, "aria-label": "Progress" });
  const stage = h("strong", {});
  const numbers = h("span", { class: "soft small number" });
  const broken = h(
    "p",
    { class: "small fault", hidden: true },
    "Connection lost; the job is not affected. Reconnecting…",
  );
  const element = h(
    "section",
    { class: "card stack", "aria-label": "Progress", hidden: true },
    h("div", { class: "row between" }, stage, numbers),
    bar,
    broken,
  );
  let said = null;

  function show(status) {
    const { progress, queue_position: place } = status;
    element.hidden = false;
    const text = progress.stage[0].toUpperCase() + progress.stage.slice(1);
    stage.textContent = place ? `${text}, number ${place} in the queue` : text;
    if (place && progress.fraction === 0) bar.removeAttribute("value");
    else bar.value = progress.fraction;
    numbers.textContent = [
      `${whole(progress.samples_done)} of ${whole(progress.samples_total)} crystals`,
      `${Math.round(100 * progress.fraction)} %`,
      progress.eta_seconds === null ? null : `about ${duration(progress.eta_seconds)} left`,
    ]
      .filter(Boolean)
      .join("  ·  ");
    const now = `${progress.stage} ${Math.floor(progress.fraction / SAY_EVERY)}`;
    if (now !== said) announce(`${stage.textContent}. ${numbers.textContent}`);
    said = now;
  }

  return {
    element,
    show,
    interrupted: (flag) => {
      broken.hidden = !flag;
    },
  };
}
