/** Waiting for an end by long polls, within a time. */

import { TimedOut } from "./errors.js";
import type { Wire } from "./wire.js";

/** Seconds of one poll; what stands between may cut longer ones. */
const LONGEST = 30;
/** Seconds between two polls where a node answers at once. */
const SHORTEST = 1;

/** What `look` finds once it has ended; it is given the seconds that a poll may take. Throws TimedOut. */
export async function ended<T extends { finishedAt: string | null }>(
  wire: Wire,
  look: (wait: number) => Promise<T>,
  timeout = Infinity,
): Promise<T> {
  const end = now() + timeout;
  for (;;) {
    const began = now();
    const found = await look(Number(Math.max(0, Math.min(end - began, LONGEST)).toFixed(3)));
    if (found.finishedAt !== null) return found;
    const left = end - now();
    if (left <= 0) throw new TimedOut(`it has not ended within ${timeout} s`, found);
    const taken = now() - began;
    if (taken < SHORTEST) await wire.sleep(Math.min(SHORTEST - taken, left));
  }
}

function now(): number {
  return performance.now() / 1000;
}
