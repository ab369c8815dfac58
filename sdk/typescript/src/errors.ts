/** The one error tree, and the reading of refusals in each of the shapes that the API documents. */

/** What is told of a refusal beside its sentence. */
export interface Facts {
  code?: string;
  details?: Record<string, unknown>;
  /** HTTP's; 0 = there was no answer. */
  status?: number;
  /** Finds the request in the node's log. */
  requestId?: string;
  /** The seconds that the node asks for. */
  retryAfter?: number | undefined;
  cause?: unknown;
}

/** Something was refused or went wrong; `code` is stable and in upper case. */
export class NeugridError extends Error {
  readonly code: string;
  readonly details: Record<string, unknown>;
  readonly status: number;
  readonly requestId: string;
  readonly retryAfter: number | undefined;

  constructor(message: string, facts: Facts = {}) {
    super(message, facts.cause === undefined ? undefined : { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code || "INTERNAL_ERROR";
    this.details = facts.details ?? {};
    this.status = facts.status ?? 0;
    this.requestId = facts.requestId ?? "";
    this.retryAfter = facts.retryAfter;
  }
}

/** Nobody answered; `wasSent` says whether the request may have been done all the same. */
export class NoAnswer extends NeugridError {
  readonly wasSent: boolean;

  constructor(message: string, wasSent: boolean, cause?: unknown) {
    super(message, { code: "NO_ANSWER", cause });
    this.wasSent = wasSent;
  }
}

/** The answer is not one that a node gives. */
export class BadAnswer extends NeugridError {
  constructor(message: string, facts: Facts = {}) {
    super(message, { ...facts, code: facts.code || "BAD_ANSWER" });
  }
}

/** What came to a webhook was not sent by the node, or long ago; `details` hold the `field` that shows it. */
export class BadSignature extends NeugridError {
  constructor(message: string, details: Record<string, unknown>) {
    super(message, { code: "BAD_SIGNATURE", details });
  }
}

/** It did not end within the time that was given; `last` is how it stood, and it goes on. */
export class TimedOut<T = unknown> extends NeugridError {
  readonly last: T;

  constructor(message: string, last: T) {
    super(message, { code: "TIMED_OUT" });
    this.last = last;
  }
}

/** A value does not fit; `details` hold `field`, `value` and `expected`. */
export class InvalidParameters extends NeugridError {}
/** No key, or one that is not known or has expired. */
export class Unauthorized extends NeugridError {}
/** The wallet does not hold enough; `details` hold `needed` and `available`. */
export class InsufficientFunds extends NeugridError {}
/** The key is known, and may not do that. */
export class Forbidden extends NeugridError {}
/** The account has as much of it as it may have. */
export class QuotaExceeded extends Forbidden {}
/** There is no such thing, or it belongs to somebody else. */
export class NotFound extends NeugridError {}
/** The node is of another version: it does not know this request. */
export class MethodNotAllowed extends NeugridError {}
/** The body came so slowly that the node did not wait for the rest. */
export class RequestTimeout extends NeugridError {}
/** The request contradicts the present state. */
export class Conflict extends NeugridError {}
/** That can not be done in this state. */
export class InvalidTransition extends Conflict {}
/** The body is above the node's limit. */
export class PayloadTooLarge extends NeugridError {}
/** The body is of a type that the node does not read. */
export class UnsupportedMediaType extends NeugridError {}
/** The same Idempotency-Key came with another body. */
export class IdempotencyMismatch extends NeugridError {}
/** Too many requests; `retryAfter` says when there may be more. */
export class RateLimited extends NeugridError {}
/** The node's own fault; its operator finds the reason under `requestId`. */
export class InternalError extends NeugridError {}
/** The node, or what it depends on, is not there now; later is right. */
export class Unavailable extends NeugridError {}
/** There is no connection to the provider. */
export class PeerUnreachable extends Unavailable {}
/** The node's chain is not the one that it is bound to. */
export class WrongChain extends Unavailable {}

type Kind = new (message: string, facts?: Facts) => NeugridError;

/** What a node can answer, by code. */
export const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
  ["INVALID_PARAMETERS", InvalidParameters],
  ["UNAUTHORIZED", Unauthorized],
  ["INSUFFICIENT_FUNDS", InsufficientFunds],
  ["FORBIDDEN", Forbidden],
  ["QUOTA_EXCEEDED", QuotaExceeded],
  ["NOT_FOUND", NotFound],
  ["METHOD_NOT_ALLOWED", MethodNotAllowed],
  ["REQUEST_TIMEOUT", RequestTimeout],
  ["CONFLICT", Conflict],
  ["INVALID_TRANSITION", InvalidTransition],
  ["PAYLOAD_TOO_LARGE", PayloadTooLarge],
  ["UNSUPPORTED_MEDIA_TYPE", UnsupportedMediaType],
  ["IDEMPOTENCY_MISMATCH", IdempotencyMismatch],
  ["RATE_LIMITED", RateLimited],
  ["INTERNAL_ERROR", InternalError],
  ["SERVICE_UNAVAILABLE", Unavailable],
  ["PEER_UNREACHABLE", PeerUnreachable],
  ["WRONG_CHAIN", WrongChain],
]);

/** Codes that some documented routes spell otherwise, beyond writing them in lower case. */
const OTHER_WORDS: ReadonlyMap<string, string> = new Map([
  ["INVALID_REQUEST", "INVALID_PARAMETERS"],
  ["RATE_LIMIT_EXCEEDED", "RATE_LIMITED"],
]);

/** What is told of a code that is not known here: its status. */
const BY_STATUS: ReadonlyMap<number, Kind> = new Map<number, Kind>([
  [400, InvalidParameters],
  [401, Unauthorized],
  [402, InsufficientFunds],
  [403, Forbidden],
  [404, NotFound],
  [405, MethodNotAllowed],
  [408, RequestTimeout],
  [409, Conflict],
  [413, PayloadTooLarge],
  [415, UnsupportedMediaType],
  [422, IdempotencyMismatch],
  [429, RateLimited],
  [500, InternalError],
  [503, Unavailable],
]);

/** The error in a refusal: nested under `error`, or flat beside a sentence in `error`; codes in either case. */
export function errorIn(response: Response, body: unknown): NeugridError {
  const said = isObject(body) ? body : {};
  const inner = said.error;
  let found: Record<string, unknown> = { message: `status ${response.status} without a reason: is this a node?` };
  if (typeof inner === "string") found = { code: said.code, message: inner, details: said.details };
  else if (isObject(inner)) found = inner;
  return errorOf(found, {
    status: response.status,
    requestId: String(said.requestId ?? response.headers.get("x-request-id") ?? ""),
    retryAfter: retryAfter(response.headers),
  });
}

/** The error by its `code`, or by its status where the code is not known here. */
export function errorOf(found: Record<string, unknown>, facts: Facts = {}): NeugridError {
  const spelled = String(found.code ?? "").toUpperCase();
  const code = OTHER_WORDS.get(spelled) ?? spelled;
  const kind = KINDS.get(code) ?? kindOf(facts.status ?? 0, code);
  const details = isObject(found.details) ? found.details : {};
  return new kind(String(found.message ?? "no reason was given"), { ...facts, code, details });
}

/** The seconds that Retry-After asks for; a date counts from the answer's own Date (RFC 9110, 10.2.3). */
export function retryAfter(headers: Headers): number | undefined {
  const text = (headers.get("retry-after") ?? "").trim();
  if (/^\d+$/.test(text)) return Number(text);
  const seconds = (Date.parse(text) - Date.parse(headers.get("date") ?? "")) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

function kindOf(status: number, code: string): Kind {
  const known = BY_STATUS.get(status);
  if (known === undefined && code === "") return status >= 500 ? Unavailable : BadAnswer;
  return known ?? NeugridError;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
