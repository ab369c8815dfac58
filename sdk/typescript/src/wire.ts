/** Requests to one node: typed by its document, with credentials, within a time, tried again; errors by their code. */

import createClient, { type Client } from "openapi-fetch";

import { BadAnswer, InvalidParameters, NeugridError, NoAnswer, errorIn } from "./errors.js";
import { KEY, type Retries, type Sleep, repeating } from "./retries.js";
import type { paths } from "./schema.js";

/** What breaks before a request has left. */
const UNSENT = new Set([
  "ECONNREFUSED",
  "ENOTFOUND",
  "EAI_AGAIN",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "UND_ERR_CONNECT_TIMEOUT",
]);
const SAFE = new Set(["GET", "HEAD", "PUT", "PATCH"]);

type Fetch = (request: Request) => Promise<Response>;
/** Of routes that can answer in several types this one is meant. */
type Json = "application/json";

export interface WireSettings {
  token: string;
  baseUrl: string;
  /** Seconds until an answer has come, beyond what the node is asked to wait. */
  timeout: number;
  retries: Retries;
  fetch: (request: Request, init?: RequestInit) => Promise<Response>;
  sleep: Sleep;
}

/** The connection to one node. */
export class Wire {
  readonly baseUrl: string;
  readonly retries: Retries;
  readonly sleep: Sleep;
  /** Seconds. */
  readonly timeout: number;
  /** Typed requests; what has an Idempotency-Key, or only looks, is repeated whatever happens. */
  readonly api: Client<paths, Json>;
  /** For what is the same when it is done twice. */
  readonly again: Fetch;
  /** For what is not repeated once it may have arrived. */
  readonly once: Fetch;
  /** For streams, which have no time and go on by themselves. */
  readonly open: Fetch;

  constructor(settings: WireSettings) {
    this.baseUrl = checkedUrl(settings.baseUrl);
    this.retries = settings.retries;
    this.sleep = settings.sleep;
    this.timeout = settings.timeout;
    const timed: Fetch = (request) => sent(settings.fetch, request, settings.timeout);
    this.again = repeating(timed, settings.retries, settings.sleep, () => true);
    this.once = repeating(timed, settings.retries, settings.sleep, () => false);
    this.open = (request) => sent(settings.fetch, request, undefined);
    const fetch = repeating(timed, settings.retries, settings.sleep, (of) => SAFE.has(of.method) || of.headers.has(KEY));
    const headers = { Authorization: `Bearer ${checkedToken(settings.token)}` };
    this.api = createClient<paths, Json>({ baseUrl: this.baseUrl, fetch, headers });
  }
}

/** The data of an answer; the error in it is thrown. */
export async function answered<T>(call: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  try {
    const { data, error, response } = await call;
    if (!response.ok) throw errorIn(response, error);
    if (data === undefined) throw new BadAnswer("the answer is empty", { status: response.status });
    return data;
  } catch (error) {
    if (error instanceof NeugridError) throw error;
    if (error instanceof SyntaxError) throw new BadAnswer("the answer is not JSON", { cause: error });
    throw new NoAnswer(`the answer broke off: ${sentence(error)}`, true, error);
  }
}

/** The header that makes a call happen once: the given key, or one made here for all tries of this call. */
export function keyed(key?: string): Record<string, string> {
  return { [KEY]: key ?? crypto.randomUUID() };
}

/** The id as it goes into a path; refused where it would be another path. */
export function checkedId(id: string): string {
  if (id === "" || id === "." || id === "..") throw unfit("id", `${JSON.stringify(id)} is no id`);
  return id;
}

async function sent(fetch: WireSettings["fetch"], request: Request, timeout: number | undefined): Promise<Response> {
  const wait = Number(new URL(request.url).searchParams.get("wait") ?? 0);
  const signals = timeout === undefined ? [] : [AbortSignal.timeout((timeout + wait) * 1000)];
  try {
    return await fetch(request, { signal: AbortSignal.any([request.signal, ...signals]), redirect: "manual" });
  } catch (error) {
    const cause = (error as { cause?: { code?: string } }).cause;
    const { origin, pathname } = new URL(request.url);
    throw new NoAnswer(`no node answers at ${origin}${pathname}: ${sentence(error)}`, !UNSENT.has(cause?.code ?? ""), error);
  }
}

function sentence(error: unknown): string {
  const cause = (error as { cause?: { code?: string } }).cause;
  return cause?.code ?? (error instanceof Error ? error.message : String(error));
}

function checkedUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (!url || !/^https?:$/.test(url.protocol) || url.username || url.password) {
    throw unfit("baseUrl", "baseUrl must be the address of a node, such as http://127.0.0.1:8080");
  }
  return text.replace(/\/+$/, "");
}

function checkedToken(token: string): string {
  if (!/^[\x21-\x7e]+$/.test(token)) throw unfit("token", "the token must be a key of the node, without spaces");
  return token;
}

function unfit(field: string, message: string): InvalidParameters {
  return new InvalidParameters(message, { code: "INVALID_PARAMETERS", details: { field } });
}
