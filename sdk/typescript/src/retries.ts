/** When a request is sent again: after broken connections, 429 and 503, with growing pauses, never to do it twice. */

import { NoAnswer, retryAfter } from "./errors.js";

/**
 * How often and how patiently; times in seconds. Pauses double from `first` to `longest`, by chance down to half of it.
 * A `Retry-After` is waited for in full, unless it is longer than `patience`: then the refusal stands.
 */
export interface Retries {
  count: number;
  first: number;
  longest: number;
  patience: number;
}

export const RETRIES: Retries = { count: 4, first: 0.25, longest: 8, patience: 60 };
export const KEY = "Idempotency-Key";

/** Seconds to wait after so many failures in a row (1 and up). */
export function pause(retries: Retries, failures: number, draw: number = Math.random()): number {
  const full = Math.min(retries.longest, retries.first * 2 ** Math.min(failures - 1, 60));
  return (full * (1 + draw)) / 2;
}

/** Lets so many seconds pass. */
export type Sleep = (seconds: number) => Promise<void>;

export const sleep: Sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

type Fetch = (request: Request) => Promise<Response>;

/** `send`, tried again; with `isRepeatable` also where the first try may have been done. */
export function repeating(send: Fetch, retries: Retries, sleep: Sleep, isRepeatable: (of: Request) => boolean): Fetch {
  return async (request) => {
    for (let failures = 1; failures <= retries.count; failures++) {
      const outcome = await send(request.clone()).catch(asNoAnswer);
      const asked = outcome instanceof NoAnswer ? 0 : (retryAfter(outcome.headers) ?? 0);
      if (outcome instanceof NoAnswer) {
        if (outcome.wasSent && !isRepeatable(request)) throw outcome;
      } else if (!isWorthAnother(outcome, request, failures, isRepeatable(request)) || asked > retries.patience) {
        return outcome;
      } else {
        await outcome.body?.cancel();
      }
      await sleep(asked + pause(retries, failures));
    }
    return send(request);
  };
}

function asNoAnswer(error: unknown): NoAnswer {
  if (error instanceof NoAnswer) return error;
  throw error;
}

/** 409 is worth it where the first request under this key may still be on its way. */
function isWorthAnother(answer: Response, request: Request, failures: number, isRepeatable: boolean): boolean {
  if (answer.status === 409) return request.headers.has(KEY) && (failures > 1 || answer.headers.has("retry-after"));
  if (answer.status === 429 || answer.status === 503) return true;
  return isRepeatable && (answer.status === 502 || answer.status === 504);
}
