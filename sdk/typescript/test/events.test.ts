/** Streams of events: the format, and what happens when connections break. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { EventReader } from "../src/events.js";
import * as sdk from "../src/index.js";
import { Script, all, refuses, streams, unreachable } from "./scripts.js";

const END = 'event: end\ndata: {"id":"job_1","status":"success"}\n\n';

function line(id: number, message: string): string {
  return `id: ${id}\nevent: log\ndata: ${JSON.stringify({ timestamp: "t", stream: "stdout", level: "info", message })}\n\n`;
}

async function followed(script: Script, settings: Partial<sdk.Settings> = {}): Promise<string[]> {
  return (await all(script.client(settings).jobs.followLogs("job_1"))).map((record) => record.message);
}

test("events do not depend on how bytes are cut", () => {
  const text =
    "\ufeffretry: 1500\r\n\r\n: still here\r\rid: 7\nevent: log\n" +
    'data: {"a":\ndata:1}\n\ndata: zwei ✓\r\n\r\nid: 8\n\ndata\n\n';
  const bytes = new TextEncoder().encode(text);
  for (let size = 1; size <= bytes.length; size++) {
    const reader = new EventReader();
    const found = [];
    for (let at = 0; at < bytes.length; at += size) found.push(...reader.feed(bytes.subarray(at, at + size)));
    assert.deepEqual(found, [
      { id: "7", name: "log", data: '{"a":\n1}' },
      { id: "7", name: "message", data: "zwei ✓" },
      { id: "8", name: "message", data: "" },
    ]);
    assert.equal(reader.pause, 1.5);
  }
});

test("a broken stream goes on behind the last line", async () => {
  const script = new Script(
    streams(["retry: 1000\n\n", line(0, "a"), line(1, "b")], false),
    streams([line(2, "c").slice(0, 20)], false),
    unreachable,
    streams([line(2, "c"), END]),
  );
  assert.deepEqual(await followed(script), ["a", "b", "c"]);
  assert.deepEqual(script.headers("last-event-id"), [null, "1", "1", "1"]);
  assert.ok(script.slept.every((seconds) => seconds >= 1));
});

test("lines under one id that come again are left out", async () => {
  const again = [line(9, "x"), line(9, "x"), line(9, "y")];
  const script = new Script(
    streams([line(5, "a"), ...again], false),
    streams([...again, line(9, "x"), line(9, "z")], false),
    streams([...again, line(9, "x"), line(9, "z"), line(11, "x"), END]),
  );
  assert.deepEqual(await followed(script), ["a", "x", "x", "y", "x", "z", "x"]);
});

test("a stream without progress ends after some tries", async () => {
  for (const [trouble, kind] of [
    [unreachable, sdk.NoAnswer],
    [streams([]), sdk.Unavailable],
    [refuses(503, "SERVICE_UNAVAILABLE"), sdk.Unavailable],
  ] as const) {
    const script = new Script(trouble);
    await assert.rejects(followed(script, { retries: { count: 3 } }), kind);
    assert.equal(script.requests.length, 4);
  }
});

test("a refusal, and an error in the stream, end it", async () => {
  const refused = new Script(streams([line(0, "a")], false), refuses(404, "NOT_FOUND"));
  await assert.rejects(followed(refused), sdk.NotFound);
  const failed = new Script(streams(['event: error\ndata: {"code":"NOT_FOUND","message":"gone"}\n\n']));
  await assert.rejects(followed(failed), { name: "NotFound", message: "gone" });
  await assert.rejects(followed(new Script(streams(["id: 1\nevent: log\ndata: {\n\n"]))), sdk.BadAnswer);
});
