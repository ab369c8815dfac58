/** Deliveries that are received; the delivery is the one that the package for Python is tested with. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as sdk from "../src/index.js";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const AT = 1_614_265_330;
const BODY =
  '{"id":"evt_7","type":"job.succeeded","event":"job.succeeded","timestamp":"2021-02-25T22:35:30.000Z",' +
  '"data":{"job_id":"job_1","note":"ä"}}';
const SIGNED = "v1,RhHMMzoM3mTi5zx0FUiudHRfLx+RK6A2DJ/ON18ZM90=";
const HEADERS = { "webhook-id": "whk_1_7", "webhook-timestamp": String(AT), "webhook-signature": SIGNED };

const refused = (field: string) => (error: unknown) => {
  assert.ok(error instanceof sdk.BadSignature && error instanceof sdk.NeugridError);
  assert.deepEqual([error.code, error.details.field, error.message.includes(SECRET)], ["BAD_SIGNATURE", field, false]);
  return true;
};

test("a delivery is taken, its body as text or bytes, its headers in any form", async () => {
  const title = { "Webhook-Id": "whk_1_7", "Webhook-Timestamp": String(AT), "Webhook-Signature": `v1,x ${SIGNED}` };
  for (const headers of [HEADERS, new Headers(HEADERS), title, { ...HEADERS, host: undefined, "set-cookie": ["a"] }]) {
    for (const body of [BODY, new TextEncoder().encode(BODY), Buffer.from(BODY)]) {
      const event = await sdk.verifyWebhook(SECRET, headers, body, { now: AT });
      assert.deepEqual([event.id, event.event, event.data], ["evt_7", "job.succeeded", { job_id: "job_1", note: "ä" }]);
    }
  }
});

test("a secret of one's own is taken as it is", async () => {
  const headers = { ...HEADERS, "webhook-signature": "v1,LNPxh1kq3OU4MUUKUhx05KdpuQqMIj2Olz+LF2hCano=" };
  assert.equal((await sdk.verifyWebhook("a secret of one's own", headers, BODY, { now: AT })).id, "evt_7");
});

test("what the node did not send is refused", async () => {
  const changed: [Record<string, string>, string][] = [
    [{ "webhook-id": "whk_1_8" }, "webhook-signature"],
    [{ "webhook-timestamp": String(AT + 1) }, "webhook-signature"],
    [{ "webhook-signature": SIGNED.replace("v1", "v2") }, "webhook-signature"],
    [{ "webhook-signature": SIGNED.slice(0, -1) }, "webhook-signature"],
    [{ "webhook-signature": "v1, v1,ä" }, "webhook-signature"],
    [{ "webhook-signature": "" }, "webhook-signature"],
    [{ "webhook-timestamp": "now" }, "webhook-timestamp"],
    [{ "webhook-id": "" }, "webhook-id"],
  ];
  for (const [change, field] of changed) {
    await assert.rejects(sdk.verifyWebhook(SECRET, { ...HEADERS, ...change }, BODY, { now: AT }), refused(field));
  }
  await assert.rejects(sdk.verifyWebhook(SECRET, HEADERS, `${BODY} `, { now: AT }), refused("webhook-signature"));
  await assert.rejects(sdk.verifyWebhook(`${SECRET}BBBB`, HEADERS, BODY, { now: AT }), refused("webhook-signature"));
  await assert.rejects(sdk.verifyWebhook("", HEADERS, BODY, { now: AT }), sdk.InvalidParameters);
});

test("an old delivery or one of tomorrow is refused", async () => {
  for (const now of [AT - 300, AT + 300]) await sdk.verifyWebhook(SECRET, HEADERS, BODY, { now });
  for (const options of [{ now: AT - 301 }, { now: AT + 301 }, { now: AT + 6, tolerance: 5 }, {}]) {
    await assert.rejects(sdk.verifyWebhook(SECRET, HEADERS, BODY, options), refused("webhook-timestamp"));
  }
});

test("what is signed and no event is a bad answer", async () => {
  const headers = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": String(AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  };
  await assert.rejects(sdk.verifyWebhook(SECRET, headers, '{"test": 2432232314}', { now: AT }), sdk.BadAnswer);
});
