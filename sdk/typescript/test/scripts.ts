/** A node by script, and the real one that the tests were given. */

import { Neugrid, type Settings } from "../src/index.js";

/** The API over fakes, which whoever runs the tests serves. */
export const URL_OF_NODE = process.env.NEUGRID_URL ?? "";
export const KEY = process.env.NEUGRID_KEY ?? "";

export type Answer = (request: Request) => Response | Promise<Response>;

export function says(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return () => new Response(JSON.stringify(body), { status, headers: { "Content-Type": "application/json", ...headers } });
}

export function refuses(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return says(status, { error: { code, message: "no", details: {} }, requestId: "req_1" }, headers);
}

/** Nobody there: the request never left. */
export const unreachable: Answer = () => {
  throw new TypeError("fetch failed", { cause: { code: "ECONNREFUSED" } });
};

/** The request left, and no answer came. */
export const breaks: Answer = () => {
  throw new TypeError("fetch failed", { cause: { code: "ECONNRESET" } });
};

/** A stream of events in these pieces, which breaks at its end unless it is whole. */
export function streams(pieces: readonly (string | Uint8Array)[], isWhole = true): Answer {
  return () => {
    const left = pieces.map((piece) => (typeof piece === "string" ? new TextEncoder().encode(piece) : piece));
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const piece = left.shift();
        if (piece !== undefined) controller.enqueue(piece);
        else if (isWhole) controller.close();
        else controller.error(new TypeError("terminated"));
      },
    });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
}

/** Answers in turn, the last one for ever; what was asked, and how long was slept. */
export class Script {
  readonly requests: Request[] = [];
  readonly slept: number[] = [];
  readonly #answers: Answer[];

  constructor(...answers: Answer[]) {
    this.#answers = answers;
  }

  client(settings: Partial<Settings> = {}): Neugrid {
    return new Neugrid({ token: "key", baseUrl: "http://node", ...this.#settings(), ...settings });
  }

  headers(name: string): (string | null)[] {
    return this.requests.map((request) => request.headers.get(name));
  }

  #settings(): Partial<Settings> {
    return {
      fetch: async (request) => {
        this.requests.push(request);
        const answer = this.#answers.length > 1 ? this.#answers.shift() : this.#answers[0];
        return answer!(request);
      },
      sleep: async (seconds) => {
        this.slept.push(seconds);
      },
    };
  }
}

/** A client of the real node; what is not said is as users have it. */
export function real(settings: Partial<Settings> = {}): Neugrid {
  return new Neugrid({ token: KEY, baseUrl: URL_OF_NODE, ...settings });
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}
