// Server-sent events over fetch, because an EventSource cannot send the API key.
import { Problem, call, pause } from "./api.js";

const FIRST_PAUSE = 1000;
const LONGEST_PAUSE = 15_000;

/** Yield the text of a response in pieces; some browsers cannot iterate over streams. */
async function* pieces(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (let read = await reader.read(); !read.done; read = await reader.read()) yield read.value;
}

/** Yield the events in a stream of text: {event, data, id}. */
async function* parse(body) {
  let rest = "";
  let event = {};
  for await (const piece of pieces(body)) {
    const lines = (rest + piece).split(/\r\n|\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (event.data !== undefined) yield event;
        event = {};
        continue;
      }
      const [, field, value] = line.match(/^([^:]*):? ?(.*)$/);
      if (field === "data")
        event.data = event.data === undefined ? value : `${event.data}\n${value}`;
      else if (field) event[field] = value;
    }
  }
}

/**
 * Yield a job's events up to `done`: {event: "crystal" | "progress" | "done" | "interrupted", data}.
 * A broken connection is resumed at the last event, after an event `interrupted`. Throws Problem if
 * a retry cannot help, AbortError when `signal` is aborted.
 */
export async function* jobEvents(id, signal) {
  let last = null;
  let wait = FIRST_PAUSE;
  for (;;) {
    try {
      const headers = {
        Accept: "text/event-stream",
        ...(last === null ? {} : { "Last-Event-ID": last }),
      };
      const response = await call(`jobs/${id}/events`, { headers, signal });
      for await (const event of parse(response.body)) {
        wait = FIRST_PAUSE;
        last = event.id ?? last;
        yield { event: event.event, data: JSON.parse(event.data) };
        if (event.event === "done") return;
      }
    } catch (error) {
      if (error.name === "AbortError") throw error;
      if (error instanceof Problem && !error.isTransient) throw error;
    }
    yield { event: "interrupted", data: null };
    await pause(wait, signal);
    wait = Math.min(2 * wait, LONGEST_PAUSE);
  }
}
