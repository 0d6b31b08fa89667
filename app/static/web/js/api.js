// Calls of the service; every failure is a Problem.

const KEY = "cdvae-api-key";

/** API key of this tab, or null. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)),
};

/** A failed call: the problem document (RFC 9457), or status 0 without a response. */
export class Problem extends Error {
  constructor({ status, title, detail, errors = [], requestId = null, retryAfter = null }) {
    super(detail);
    Object.assign(this, { status, title, detail, errors, requestId, retryAfter });
  }

  /** Whether a retry may succeed. */
  get isTransient() {
    return this.status === 0 || this.status === 429 || this.status === 503;
  }
}

async function problemOf(response) {
  const requestId = response.headers.get("X-Request-ID");
  const retryAfter = Number(response.headers.get("Retry-After")) || null;
  try {
    return new Problem({
      ...(await response.json()),
      status: response.status,
      requestId,
      retryAfter,
    });
  } catch {
    const detail = `The service answered ${response.status} without an explanation.`;
    return new Problem({
      status: response.status,
      title: "Unexpected response",
      detail,
      requestId,
      retryAfter,
    });
  }
}

/**
 * Return the response of a successful call.
 * Throws Problem, or AbortError for an aborted call. A 401 also dispatches an event on the window.
 */
export async function call(path, { method = "GET", body, type, headers = {}, signal } = {}) {
  const sent = { ...headers };
  if (type) sent["Content-Type"] = type;
  if (apiKey.get()) sent.Authorization = `Bearer ${apiKey.get()}`;
  let response;
  try {
    response = await fetch(path, { method, body, headers: sent, signal, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ status: 0, title: "No answer", detail: "The service cannot be reached." });
  }
  if (response.ok) return response;
  if (response.status === 401) window.dispatchEvent(new Event("cdvae:key-needed"));
  throw await problemOf(response);
}

/** Return the JSON of a response. */
export const getJson = async (path, signal) => (await call(path, { signal })).json();

/** Return the value of a promise, null if it fails: the model of a job may have been removed. */
export async function optional(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

/** Return an error message for the page of a job. */
export const asProblem = (error) =>
  error instanceof Problem
    ? error
    : new Problem({
        status: 0,
        title: "Error in this page",
        detail: "Reload the page; the job is not affected.",
      });

/** Resolve after `ms` milliseconds, or throw AbortError. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      "abort",
      () => {
        clearTimeout(timer);
        reject(new DOMException("left", "AbortError"));
      },
      { once: true },
    );
  });
}

/** Save a file on the reader's machine. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Fetch a file with the API key, which a plain link cannot send, and save it. */
export async function download(path, name) {
  save(await (await call(path)).blob(), name);
}
