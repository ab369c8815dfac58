/** The client against the real API: what every use of it needs. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as sdk from "../src/index.js";
import { all, real } from "./scripts.js";

/** Put there by whoever serves the API. */
const DONE = "job_done";
const LINES = Array.from({ length: 40 }, (_, number) => `line ${number} ✓`);
const MANY = 250;

test("a list goes over all pages, or comes page by page", async () => {
  const jobs = await all(real().jobs.list({ status: "running" }));
  assert.deepEqual([jobs.length, new Set(jobs.map((job) => job.id)).size], [MANY, MANY]);
  const pages = real().jobs.list({ status: "running", limit: 100 });
  const first = await pages.page();
  const third = await pages.page((await pages.page(first.nextCursor)).nextCursor);
  assert.deepEqual([first.total, first.items.length, third.items.length, third.nextCursor], [MANY, 100, 50, undefined]);
});

test("a lost answer is asked for again, and one job is posted", async () => {
  let sent = 0;
  const client = real({
    sleep: async () => undefined,
    fetch: async (request, init) => {
      const answer = await fetch(request, init);
      if (sent++ === 0) throw new TypeError("fetch failed", { cause: { code: "ECONNRESET" } });
      return answer;
    },
  });
  const before = (await client.jobs.list({ status: "pending" }).page()).total;
  sent = 0;
  const job = await client.jobs.submit({ image: "busybox", command: ["true"], maxPrice: "1.0" });
  assert.deepEqual([sent, job.status], [2, "pending"]);
  assert.equal((await client.jobs.list({ status: "pending" }).page()).total, before + 1);
});

test("a job is waited for, and its end comes", async () => {
  assert.equal((await real().jobs.wait(DONE, { timeout: 10 })).status, "success");
  const job = await real().jobs.submit({ image: "busybox", maxPrice: "1.0" });
  const waiting = real({ sleep: async () => undefined }).jobs.wait(job.id, { timeout: 0 });
  await assert.rejects(waiting, (error: sdk.TimedOut<sdk.Job>) => error.last.id === job.id);
});

test("lines are followed to the end, wherever the connection is cut", async () => {
  const cuts = [30, 700, 2000, 1];
  const client = real({
    sleep: async () => undefined,
    fetch: async (request, init) => {
      const answer = await fetch(request, init);
      const cut = cuts.shift();
      if (cut === undefined) return answer;
      const whole = new Uint8Array(await answer.arrayBuffer());
      return new Response(whole.slice(0, cut), { headers: answer.headers });
    },
  });
  const lines = await all(client.jobs.followLogs(DONE));
  assert.deepEqual(lines.map((line) => line.message), LINES);
  assert.equal(cuts.length, 0);
});

test("leaving a stream ends it", async () => {
  for await (const line of real().jobs.followLogs(DONE)) {
    assert.equal(line.message, LINES[0]);
    break;
  }
  assert.deepEqual((await real().jobs.logs(DONE, { tail: 1 })).map((line) => line.message), LINES.slice(-1));
});

test("results are listed and fetched", async () => {
  const results = await real().jobs.results(DONE);
  assert.deepEqual([results.exitCode, results.files.map((file) => file.path)], [0, ["out put/ä.bin"]]);
  assert.deepEqual(await real().jobs.download(DONE, "out put/ä.bin"), Uint8Array.from([0, 255, 10]));
});

test("code is run and waited for", async () => {
  const run = await real().runner.run({ code: "print(6 * 7)", language: "python" }, { timeout: 10 });
  assert.deepEqual([run.stdout, run.status], ["42\n", "success"]);
  assert.deepEqual((await real().runner.languages()).map((language) => language.name), ["python"]);
});

test("services, under both of their names", async () => {
  const client = real();
  const { deployment, estimatedHourlyCost } = await client.deployments.create({ templateId: "redis", replicas: 2 });
  assert.deepEqual([deployment.replicas, typeof estimatedHourlyCost], [2, "number"]);
  assert.equal((await client.deployments.scale(deployment.id, 3)).replicas, 3);
  assert.equal((await client.deployments.update(deployment.id, { env: { A: "b" } })).env.A, "***");
  const agent = await client.agents.create({ name: "mine", image: "app:1", config: { replicas: 1 } });
  assert.equal((await client.agents.get(agent.id)).status, "deploying");
  assert.deepEqual((await all(client.agents.list({ sort: "name:asc" }))).map((found) => found.name), ["mine"]);
  assert.ok((await all(client.pods.list())).some((pod) => pod.deployment_id === deployment.id));
  assert.deepEqual(await client.agents.logs(agent.id), []);
  assert.equal((await client.agents.delete(agent.id)).id, agent.id);
  assert.equal((await client.deployments.delete(deployment.id)).success, true);
});

test("market, wallet, keys, projects, files, templates", async () => {
  const client = real();
  assert.equal((await all(client.providers.list({ gpu: false }))).length, 1);
  assert.equal(typeof (await client.market.prices()).cpu.min, "number");
  assert.equal((await client.market.stats()).providers, 2);
  assert.equal((await client.wallet.balance()).balance, "1000000.0");
  await assert.rejects(client.wallet.withdraw({ amount: "100" }), sdk.Conflict);
  assert.deepEqual(await all(client.wallet.withdrawals({ limit: 1 })), []);
  const key = await client.keys.create("ci", "90d");
  assert.equal((await client.keys.revoke(key.id)).id, key.id);
  const project = await client.projects.create({ repoUrl: "https://git.example.org/app.git" });
  assert.deepEqual((await all(client.projects.list())).map((found) => found.name), [project.name]);
  const { digest, size } = await client.files.upload(new Uint8Array(3));
  assert.deepEqual((await all(client.files.list())).map((file) => [file.digest, file.size]), [[digest, size]]);
  assert.equal((await client.files.delete(digest)).id, digest);
  assert.ok((await client.templates.get("redis")).image);
  assert.equal((await client.health()).status, "ok");
});

test("the real refusals of all three shapes", async () => {
  const client = real();
  for (const resource of [client.jobs, client.pods, client.agents, client.projects]) {
    await assert.rejects(resource.get("no"), (error: sdk.NeugridError) => {
      assert.ok(error instanceof sdk.NotFound);
      assert.deepEqual([error.code, error.requestId.startsWith("req_")], ["NOT_FOUND", true]);
      return true;
    });
  }
  await assert.rejects(real({ token: "wrong" }).jobs.get("x"), sdk.Unauthorized);
  await assert.rejects(client.jobs.submit({ image: "a", maxPrice: "free" }), (error: sdk.NeugridError) => {
    return error instanceof sdk.InvalidParameters && error.details.field === "maxPrice";
  });
});

test("types refuse what the API does not know", () => {
  const never = (): unknown => {
    // @ts-expect-error there is no such field
    void real().jobs.submit({ imag: "busybox" });
    // @ts-expect-error a number is no command
    return real().jobs.submit({ image: "busybox", command: [1] });
  };
  assert.equal(typeof never, "function");
});
