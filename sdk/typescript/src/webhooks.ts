/**
 * Deliveries to your webhooks: proof that your node sent what came, and that it is not an old one sent again.
 *
 * They are signed as Standard Webhooks have it (https://www.standardwebhooks.com).
 */

import { BadAnswer, BadSignature, InvalidParameters } from "./errors.js";

/** Seconds that a delivery may be old, or from a clock that is ahead. */
const TOLERANCE = 300;
/** No webhook has a secret of fewer characters; none at all would let everybody sign. */
const SHORTEST = 8;
const PREFIX = "whsec_";
const VERSION = "v1,";
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/;
const HMAC = { name: "HMAC", hash: "SHA-256" };

type Bytes = Uint8Array<ArrayBuffer>;

/** The headers of a request, as `fetch` or Node.js has them. */
export type Delivered = Iterable<[string, string]> | Record<string, string | string[] | undefined>;

/** What a delivery tells: `event` such as "job.succeeded", and the `id` by which a repeat is known. */
export interface WebhookEvent {
  id: string;
  event: string;
  timestamp: string;
  data: Record<string, unknown>;
}

/**
 * The event in a delivery: its headers, and its body just as it came.
 *
 * A delivery is refused when it is further than `tolerance` seconds from `now` (seconds since the epoch; without it the
 * clock's). One that is sent again keeps the `id` of its event. Throws BadSignature, and BadAnswer for what is signed
 * and no event.
 */
export async function verifyWebhook(
  secret: string,
  headers: Delivered,
  body: string | Uint8Array,
  options: { tolerance?: number; now?: number } = {},
): Promise<WebhookEvent> {
  if (secret.length < SHORTEST) {
    const details = { field: "secret" };
    throw new InvalidParameters("the secret must be that of the webhook", { code: "INVALID_PARAMETERS", details });
  }
  const id = told(headers, "webhook-id");
  const sent = told(headers, "webhook-timestamp");
  const signatures = told(headers, "webhook-signature");
  checkAge(sent, options.tolerance ?? TOLERANCE, options.now ?? Date.now() / 1000);
  const bytes = typeof body === "string" ? bytesOf(body) : body;
  if (!(await isSigned(keyOf(secret), signatures, joined(bytesOf(`${id}.${sent}.`), bytes)))) {
    throw new BadSignature("no signature is of this secret and these bytes", { field: "webhook-signature" });
  }
  return eventIn(bytes);
}

function told(headers: Delivered, name: string): string {
  const found = entriesOf(headers).find(([each]) => each.toLowerCase() === name)?.[1];
  if (typeof found !== "string" || found === "") {
    throw new BadSignature(`${name} is missing: this is no delivery`, { field: name });
  }
  return found;
}

function entriesOf(headers: Delivered): [string, unknown][] {
  return Symbol.iterator in headers ? [...(headers as Iterable<[string, string]>)] : Object.entries(headers);
}

function checkAge(sent: string, tolerance: number, now: number): void {
  const field = "webhook-timestamp";
  if (!/^\d{1,15}$/.test(sent)) throw new BadSignature(`${field} must be seconds since the epoch`, { field });
  if (!(Math.abs(now - Number(sent)) <= tolerance)) {
    const message = `the delivery is of ${sent}, which is further than ${tolerance} seconds from now`;
    throw new BadSignature(message, { field, value: sent, expected: tolerance });
  }
}

/** Whether one of the signatures is by this key; the platform compares in a time that tells nothing. */
async function isSigned(key: Bytes, signatures: string, signed: Bytes): Promise<boolean> {
  const imported = await crypto.subtle.importKey("raw", key, HMAC, false, ["verify"]);
  for (const given of signatures.split(" ")) {
    const signature = given.startsWith(VERSION) ? decoded(given.slice(VERSION.length)) : undefined;
    if (signature && (await crypto.subtle.verify("HMAC", imported, signature, signed))) return true;
  }
  return false;
}

/** The bytes of a secret: base64 behind the prefix, or else the text itself. */
function keyOf(secret: string): Bytes {
  const inner = secret.startsWith(PREFIX) ? decoded(secret.slice(PREFIX.length)) : undefined;
  return inner ?? bytesOf(secret);
}

function decoded(text: string): Bytes | undefined {
  return BASE64.test(text) ? Uint8Array.from(atob(text), (each) => each.charCodeAt(0)) : undefined;
}

function bytesOf(text: string): Bytes {
  return new TextEncoder().encode(text);
}

function joined(head: Bytes, body: Uint8Array): Bytes {
  const whole = new Uint8Array(head.length + body.length);
  whole.set(head);
  whole.set(body, head.length);
  return whole;
}

function eventIn(body: Uint8Array): WebhookEvent {
  let found: unknown;
  try {
    found = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch (cause) {
    throw new BadAnswer("the delivery is signed, and not JSON", { cause });
  }
  if (!isEvent(found)) throw new BadAnswer("the delivery is signed, and no event of a node");
  return found;
}

function isEvent(value: unknown): value is WebhookEvent {
  if (typeof value !== "object" || value === null) return false;
  const { id, event, timestamp, data } = value as Partial<Record<keyof WebhookEvent, unknown>>;
  return [id, event, timestamp].every((each) => typeof each === "string") && typeof data === "object" && data !== null;
}
