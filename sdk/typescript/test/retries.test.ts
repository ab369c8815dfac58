/** When requests are sent again, and what the errors are. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";

import * as sdk from "../src/index.js";
import { Script, breaks, refuses, says, unreachable } from "./scripts.js";

const HEALTHY = says(200, { status: "ok", uptime: 1 });
const JOB = { image: "busybox", maxPrice: "1" };

test("looking is repeated after any trouble, with growing pauses", async () => {
  for (const trouble of [unreachable, breaks, refuses(503, "SERVICE_UNAVAILABLE"), says(502, "gone")]) {
    const script = new Script(trouble, trouble, HEALTHY);
    assert.equal((await script.client().health()).status, "ok");
    const [first, second] = script.slept as [number, number];
    assert.ok(first >= 0.125 && first <= 0.25 && second >= 0.25 && second <= 0.5, inspect(script.slept));
  }
});

test("what the node asks for is waited for in full", async () => {
  const dates = { "Retry-After": "Thu, 01 Jan 2026 00:00:09 GMT", Date: "Thu, 01 Jan 2026 00:00:00 GMT" };
  const script = new Script(refuses(429, "RATE_LIMITED", { "Retry-After": "7" }), refuses(503, "X", dates), HEALTHY);
  await script.client().health();
  assert.deepEqual(script.slept.map(Math.floor), [7, 9]);
});

test("a pause beyond all patience is an error at once", async () => {
  const script = new Script(refuses(429, "RATE_LIMITED", { "Retry-After": "86400" }));
  await assert.rejects(script.client().health(), (error: sdk.NeugridError) => {
    assert.ok(error instanceof sdk.RateLimited);
    assert.deepEqual([error.retryAfter, error.status, error.requestId], [86400, 429, "req_1"]);
    return true;
  });
  assert.equal(script.requests.length, 1);
});

test("after the last try the error stands", async () => {
  const script = new Script(unreachable);
  await assert.rejects(script.client({ retries: { count: 2 } }).health(), sdk.NoAnswer);
  assert.equal(script.requests.length, 3);
});

test("one key and one body go with all tries of a call, and a new key with the next", async () => {
  const script = new Script(breaks, refuses(503, "SERVICE_UNAVAILABLE"), refuses(400, "INVALID_PARAMETERS"));
  const client = script.client();
  await assert.rejects(client.jobs.submit(JOB), sdk.InvalidParameters);
  await assert.rejects(client.jobs.submit(JOB), sdk.InvalidParameters);
  const keys = script.headers("idempotency-key");
  assert.deepEqual([keys.length, new Set(keys.slice(0, 3)).size, new Set(keys).size], [4, 1, 2]);
  for (const request of script.requests) assert.deepEqual(await request.json(), JOB);
});

test("every call that costs money has a key", async () => {
  const script = new Script(refuses(400, "INVALID_PARAMETERS"));
  const client = script.client();
  const calls = [
    () => client.jobs.submit(JOB, { idempotencyKey: "mine" }),
    () => client.deployments.create({ templateId: "redis" }),
    () => client.agents.create({ name: "a", image: "b" }),
    () => client.wallet.withdraw(),
    () => client.wallet.refund(),
    () => client.deployments.restart("dep_1"),
    () => client.agents.restart("agt_1"),
    () => client.runner.run({ code: "1", language: "python" }),
  ];
  for (const call of calls) await assert.rejects(call(), sdk.InvalidParameters);
  const keys = script.headers("idempotency-key");
  assert.deepEqual([keys[0], new Set(keys).size, keys.includes(null)], ["mine", 8, false]);
});

test("what would be done twice is not sent twice once it may have arrived", async () => {
  const calls = [
    (client: sdk.Neugrid) => client.keys.create("ci"),
    (client: sdk.Neugrid) => client.webhooks.create({ url: "https://hooks.example/" }),
    (client: sdk.Neugrid) => client.jobs.cancel("job_1"),
    (client: sdk.Neugrid) => client.projects.delete("prj_1"),
    (client: sdk.Neugrid) => client.runner.submit({ code: "1", language: "python" }),
  ];
  for (const call of calls) {
    const script = new Script(breaks);
    await assert.rejects(call(script.client()), (error: sdk.NoAnswer) => error.wasSent);
    assert.equal(script.requests.length, 1);
  }
  const script = new Script(unreachable, says(201, { id: "key_1" }));
  assert.equal((await script.client().keys.create("ci")).id, "key_1");
});

test("a first try that is still on its way is waited for", async () => {
  const script = new Script(breaks, refuses(409, "CONFLICT"), says(201, { id: "job_1" }));
  assert.equal((await script.client().jobs.submit(JOB)).id, "job_1");
  await assert.rejects(new Script(refuses(409, "CONFLICT")).client().jobs.submit(JOB), sdk.Conflict);
});

test("each code has its error in each envelope", async () => {
  for (const [code, kind] of sdk.KINDS) {
    const nested = { error: { code, message: "why", details: { field: "f" } } };
    const lower = { error: { ...nested.error, code: code.toLowerCase() } };
    const flat = { error: "why", code, status: 400, details: { field: "f" } };
    for (const body of [nested, lower, flat]) {
      await assert.rejects(new Script(says(400, body)).client().health(), (error: sdk.NeugridError) => {
        assert.equal(error.constructor, kind);
        assert.deepEqual([error.code, error.message, error.details], [code, "why", { field: "f" }]);
        assert.ok(error instanceof sdk.NeugridError && error.name === kind.name);
        return true;
      });
    }
  }
  const spelled = says(400, { error: { code: "invalid_request", message: "why" } });
  await assert.rejects(new Script(spelled).client().health(), sdk.InvalidParameters);
});

test("what is no answer of a node is an error all the same", async () => {
  const client = (answer: () => Response) => new Script(answer).client({ retries: { count: 0 } });
  await assert.rejects(client(() => new Response("<html>", { status: 502 })).health(), sdk.Unavailable);
  await assert.rejects(client(() => new Response("<html>", { status: 404 })).health(), sdk.NotFound);
  await assert.rejects(client(() => new Response("<html>")).health(), sdk.BadAnswer);
  await assert.rejects(client(() => new Response(null, { status: 302 })).health(), sdk.BadAnswer);
});

test("the token is in the header and nowhere else", async () => {
  const script = new Script(refuses(401, "UNAUTHORIZED"));
  const client = script.client({ token: "ng_live_secret" });
  await assert.rejects(client.health(), (error) => !inspect(error, { depth: 9 }).includes("ng_live_secret"));
  assert.equal(script.headers("authorization")[0], "Bearer ng_live_secret");
  assert.ok(!inspect(client, { depth: 9, showHidden: true }).includes("ng_live_secret"));
  assert.ok(!JSON.stringify(client).includes("ng_live_secret"));
});

test("addresses, tokens and ids that are none are refused here", async () => {
  for (const baseUrl of ["", "node", "ftp://node", "http://user:secret@node"]) {
    assert.throws(() => new sdk.Neugrid({ token: "key", baseUrl }), sdk.InvalidParameters);
  }
  for (const token of ["", "with space", "a\nb"]) {
    assert.throws(() => new sdk.Neugrid({ token }), sdk.InvalidParameters);
  }
  const script = new Script(HEALTHY);
  for (const id of ["", ".", ".."]) await assert.rejects(script.client().jobs.get(id), sdk.InvalidParameters);
  await assert.rejects(script.client().jobs.download("job_1", "../../keys"), sdk.InvalidParameters);
  assert.equal(script.requests.length, 0);
});
