/** Users, billing and webhooks, against the real API. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as sdk from "../src/index.js";
import { all, real } from "./scripts.js";

const operator = () => real({ token: process.env.NEUGRID_ROOT_KEY ?? "" });

test("an administrator looks after users", async () => {
  const { users } = operator();
  const made = await users.create({ email: "ann@example.org", password: "correct horse", tier: "pro" });
  assert.deepEqual([made.role, made.tier, made.status], ["developer", "pro", "active"]);
  assert.equal((await users.update(made.id, { isBlocked: true })).status, "blocked");
  assert.ok((await all(users.list({ limit: 2 }))).some((user) => user.id === made.id));
  const before = (await users.giveCredits(made.id, 5)).credits;
  for (const _ of [1, 2]) {
    assert.equal((await users.giveCredits(made.id, 10, { idempotencyKey: "k" })).credits, before + 10);
  }
  await assert.rejects(users.giveCredits(made.id, 11, { idempotencyKey: "k" }), sdk.IdempotencyMismatch);
  assert.equal((await users.delete(made.id)).id, made.id);
  await assert.rejects(users.get(made.id), sdk.NotFound);
});

test("a user knows himself and nobody else", async () => {
  const { users } = real();
  const me = await users.me();
  assert.deepEqual([me.user.name, me.scopes], ["alice", ["read", "compute", "money", "account"]]);
  await assert.rejects(all(users.list()), sdk.Forbidden);
});

test("use and invoices", async () => {
  const { billing } = real();
  const usage = await billing.usage();
  assert.deepEqual([usage.usage.compute_hours, usage.currency], [0, "TUSD"]);
  const [invoice] = await all(billing.invoices());
  assert.deepEqual([invoice?.amount, invoice?.status], [1.5, "paid"]);
  assert.deepEqual(await billing.invoice("inv_1"), invoice);
  await assert.rejects(billing.usage("2026-13"), sdk.InvalidParameters);
});

test("a webhook from first to last", async () => {
  const { webhooks } = real();
  const made = await webhooks.create({ url: "https://hooks.example/", events: ["agent.created", "job.*"] });
  assert.match(made.secret ?? "", /^whsec_/);
  assert.ok((await webhooks.list()).some((webhook) => webhook.id === made.id));
  assert.equal((await webhooks.update(made.id, { isActive: false })).status, "disabled");
  assert.equal((await webhooks.get(made.id)).secret ?? null, null);
  assert.notEqual((await webhooks.rotate(made.id)).secret, made.secret);
  const sent = await webhooks.test(made.id);
  assert.deepEqual((await all(webhooks.deliveries(made.id))).map((each) => each.id), [sent.id]);
  assert.equal((await webhooks.retry(sent.id)).status, "pending");
  assert.equal((await webhooks.delete(made.id)).id, made.id);
  await assert.rejects(webhooks.get(made.id), sdk.NotFound);
});
