/**
 * Server-sent events: the format, and streams of them that go on where a broken connection left them.
 *
 * https://html.spec.whatwg.org/multipage/server-sent-events.html
 */

import { BadAnswer, NeugridError, NoAnswer, RateLimited, Unavailable, errorOf } from "./errors.js";
import { pause } from "./retries.js";
import { answered, type Wire } from "./wire.js";

/** Seconds without a byte that a stream may take beyond the client's timeout; a node says something every 15. */
const SILENCE = 30;
/** Seconds after which a connection that breaks has been a good one. */
const LIVED = 5;

/** One event; `data` is JSON text. */
export interface StreamEvent {
  id: string;
  name: string;
  data: string;
}

/** From bytes to events, as they come; `pause` are the seconds that the server wants between connections. */
export class EventReader {
  pause = 0;
  #id = "";
  #name = "";
  #data: string[] = [];
  #rest = "";
  #hasReturn = false;
  readonly #decoder = new TextDecoder();

  /** The events that are complete with these bytes. */
  feed(chunk: Uint8Array): StreamEvent[] {
    let text = this.#decoder.decode(chunk, { stream: true });
    if (this.#hasReturn && text.startsWith("\n")) text = text.slice(1);
    if (text !== "") this.#hasReturn = text.endsWith("\r");
    const lines = (this.#rest + text).split(/\r\n|\r|\n/);
    this.#rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.#take(line));
  }

  #take(line: string): StreamEvent[] {
    if (line === "") return this.#dispatched();
    const [, name, value = ""] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#name = value;
    else if (name === "id") this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.pause = Number(value) / 1000;
    return [];
  }

  #dispatched(): StreamEvent[] {
    const data = this.#data;
    const event = { id: this.#id, name: this.#name || "message", data: data.join("\n") };
    this.#name = "";
    this.#data = [];
    return data.length > 0 ? [event] : [];
  }
}

const EVENTS = { Accept: "text/event-stream" };

/** What makes a typed request one for a stream. */
export interface Streaming {
  headers: Record<string, string>;
  parseAs: "stream";
  fetch: (request: Request) => Promise<Response>;
}

type Body = ReadableStream<Uint8Array> | null;
type Open = (streaming: Streaming) => Promise<{ data?: Body; error?: unknown; response: Response }>;

/**
 * The data of events that are `wanted`, up to the event `end`.
 *
 * Each comes once: a new connection goes on behind the last event, and what is sent again is left out. Throws NoAnswer
 * or Unavailable after as many connections in a row as `retries` allow that were short and brought nothing.
 */
export async function* followed<T>(wire: Wire, open: Open, wanted: (name: string) => boolean): AsyncGenerator<T> {
  const place = new Place();
  for (let failures = 0; ; ) {
    const began = performance.now();
    const before = place.count;
    let problem: NeugridError = new Unavailable("the stream ended before it was over", { code: "SERVICE_UNAVAILABLE" });
    try {
      yield* connection<T>(wire, open, place, wanted);
    } catch (error) {
      if (!(error instanceof NoAnswer || error instanceof RateLimited || error instanceof Unavailable)) throw error;
      problem = error;
    }
    if (place.isOver) return;
    const isGood = place.count > before || performance.now() - began > LIVED * 1000;
    failures = isGood ? 1 : failures + 1;
    const asked = Math.max(place.pause, problem.retryAfter ?? 0);
    if (failures > wire.retries.count || asked > wire.retries.patience) throw problem;
    await wire.sleep(asked + pause(wire.retries, failures));
  }
}

/** Where a stream is: the last id, and what came under it, for some ids name more than one event. */
class Place {
  count = 0;
  pause = 0;
  isOver = false;
  #id = "";
  #seen: string[] = [];
  #again: string[] = [];

  /** The headers that ask for what comes behind this place. */
  resumed(): Record<string, string> {
    this.#again = [...this.#seen];
    return this.#id === "" ? {} : { "Last-Event-ID": this.#id };
  }

  /** Whether it has not come before; it has come now. */
  isNew(event: StreamEvent): boolean {
    const known = event.id === this.#id ? this.#again.indexOf(event.data) : -1;
    if (known >= 0) {
      this.#again.splice(known, 1);
      return false;
    }
    if (event.id !== this.#id) [this.#id, this.#seen, this.#again] = [event.id, [], []];
    this.#seen.push(event.data);
    this.count += 1;
    return true;
  }
}

async function* connection<T>(
  wire: Wire,
  open: Open,
  place: Place,
  wanted: (name: string) => boolean,
): AsyncGenerator<T> {
  const headers = { ...EVENTS, ...place.resumed() };
  const chunks = (await answered<Body>(open({ headers, parseAs: "stream", fetch: wire.open })))?.getReader();
  if (chunks === undefined) return;
  const reader = new EventReader();
  try {
    for (;;) {
      const { done, value } = await read(chunks, wire.timeout + SILENCE);
      if (done) return;
      for (const event of reader.feed(value)) {
        if (event.name === "end") place.isOver = true;
        if (place.isOver) return;
        if (isWanted(event, wanted) && place.isNew(event)) yield parsed(event) as T;
      }
      place.pause = reader.pause || place.pause;
    }
  } finally {
    await chunks.cancel().catch(() => undefined);
  }
}

/** The next bytes; NoAnswer when they do not come within so many seconds. */
async function read(chunks: ReadableStreamDefaultReader<Uint8Array>, seconds: number) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new NoAnswer("the stream is silent", true)), seconds * 1000);
  });
  try {
    return await Promise.race([chunks.read(), silence]);
  } catch (error) {
    throw error instanceof NoAnswer ? error : new NoAnswer("the stream broke off", true, error);
  } finally {
    clearTimeout(timer);
  }
}

/** Lines of output, of all that a stream of them brings. */
export function isLog(name: string): boolean {
  return name === "log";
}

function isWanted(event: StreamEvent, wanted: (name: string) => boolean): boolean {
  if (event.name === "error") throw errorOf(parsed(event) as Record<string, unknown>);
  return wanted(event.name);
}

function parsed(event: StreamEvent): unknown {
  try {
    return JSON.parse(event.data) as unknown;
  } catch (error) {
    throw new BadAnswer(`the event ${event.name} is not JSON`, { cause: error });
  }
}
