// The page: views by address, and the bar at the top.
import { installKeyDialog } from "./key.js";
import { followService } from "./service.js";
import { installTheme } from "./theme.js";
import { createView } from "./create.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";

const main = document.getElementById("main");
let leave = new AbortController();

const ROUTES = [
  [/^#\/jobs\/([A-Za-z0-9_-]{1,64})$/, "jobs", jobView],
  [/^#\/jobs$/, "jobs", jobsView],
  [/^/, "create", createView],
];

/** Show the view of the current address; it gets an element, an AbortSignal and a part of the address. */
function show({ focus = true } = {}) {
  const [match, page, view] = ROUTES.map(([pattern, ...rest]) => [
    location.hash.match(pattern),
    ...rest,
  ]).find(([found]) => found);
  leave.abort();
  leave = new AbortController();
  for (const link of document.querySelectorAll("nav [data-page]")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.replaceChildren();
  view(main, leave.signal, match[1]);
  scrollTo(0, 0);
  if (focus) main.focus({ preventScroll: true });
}

document.getElementById("skip").addEventListener("click", () => main.focus());
installTheme(document.getElementById("theme"), () =>
  window.dispatchEvent(new Event("cdvae:theme")),
);
installKeyDialog(document.getElementById("key"), show);
followService(document.getElementById("service"));
window.addEventListener("hashchange", () => show());
show({ focus: false });
