// State of the service in the bar.

const EVERY = 15_000;

async function look() {
  let response;
  try {
    response = await fetch("readyz", { cache: "no-store" });
  } catch {
    return ["bad", "service unreachable"];
  }
  const answer = await response.json();
  if (!response.ok) return ["bad", "not ready", answer.detail];
  const { live, with_model: ready } = answer.workers;
  if (live === 0) return ["warn", "no worker", "Jobs wait until a worker starts."];
  if (ready === 0) return ["warn", "worker starting"];
  return ["good", ready === 1 ? "1 worker ready" : `${ready} workers ready`];
}

/** Update `element` while the page is visible. */
export async function followService(element) {
  const update = async () => {
    if (document.hidden) return;
    const [state, text, why] = await look();
    element.dataset.state = state;
    if (element.textContent !== text) element.textContent = text;
    element.title = why ?? "";
  };
  setInterval(update, EVERY);
  document.addEventListener("visibilitychange", update);
  await update();
}
