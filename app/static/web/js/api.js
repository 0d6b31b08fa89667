// Calls of the service: one function, one kind of error.

const KEY = "cdvae-api-key";

/** The API key of this tab, or null. */
export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set: (key) => (key ? sessionStorage.setItem(KEY, key) : sessionStorage.removeItem(KEY)),
};

/** What came back instead of an answer: a problem document (RFC 9457), or silence (status 0). */
export class Problem extends Error {
  constructor({ status, title, detail, errors = [], requestId = null, retryAfter = null }) {
    super(detail);
    Object.assign(this, { status, title, detail, errors, requestId, retryAfter });
  }

  /** Whether the same call may succeed later without anybody doing anything. */
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
 * The response of a call that succeeded.
 * Throws Problem otherwise; an aborted call throws AbortError. A 401 is also an event of the window.
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

/** The JSON of an answer. */
export const getJson = async (path, signal) => (await call(path, { signal })).json();

/** What a promise gives, or null where it fails: a model may have gone since a job was made. */
export async function optional(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return null;
  }
}

/** What to tell of an error on the page of a job, whatever it was. */
export const asProblem = (error) =>
  error instanceof Problem
    ? error
    : new Problem({
        status: 0,
        title: "Error in this page",
        detail: "Reload the page; the job is not affected.",
      });

/** Resolves after so many milliseconds, or throws AbortError. */
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

/** Hands a file to the reader. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Fetches a file with the key, which a plain link could not send, and hands it to the reader. */
export async function download(path, name) {
  save(await (await call(path)).blob(), name);
}
