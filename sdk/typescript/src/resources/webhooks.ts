/** Where you are told of what happens, and how that went. */

import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { answered, checkedId, type Wire } from "../wire.js";
import type { Deleted } from "./services.js";

type Schemas = components["schemas"];
export type Webhook = Schemas["WebhookView"];
export type WebhookBody = Schemas["NewWebhook"];
export type WebhookChanges = Schemas["WebhookChanges"];
export type Delivery = Schemas["DeliveryView"];

/** Your webhooks; deliveries are signed as Standard Webhooks have it. */
export class Webhooks {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Your webhooks, without their secrets. */
  async list(): Promise<Webhook[]> {
    return (await answered(this.#wire.api.GET("/v1/webhooks"))).webhooks;
  }

  /** Be told of these events (none = all; "job.*" is a family) at an https address; `secret` is told once. */
  async create(webhook: WebhookBody): Promise<Webhook> {
    return answered(this.#wire.api.POST("/v1/webhooks", { body: webhook }));
  }

  /** One webhook. */
  async get(id: string): Promise<Webhook> {
    return answered(this.#wire.api.GET("/v1/webhooks/{webhook_id}", { params: webhook(id) }));
  }

  /** Change what is named; one that is active again begins without failures. */
  async update(id: string, changes: WebhookChanges): Promise<Webhook> {
    return answered(this.#wire.api.PATCH("/v1/webhooks/{webhook_id}", { params: webhook(id), body: changes }));
  }

  /** Be told there no more; what was on its way goes too. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/webhooks/{webhook_id}", { params: webhook(id) }));
  }

  /** Send it the event `webhook.test` now. */
  async test(id: string): Promise<Delivery> {
    return answered(this.#wire.api.POST("/v1/webhooks/{webhook_id}/test", { params: webhook(id) }));
  }

  /** A new secret, told once; for a day the one before signs beside it. */
  async rotate(id: string): Promise<Webhook> {
    return answered(this.#wire.api.POST("/v1/webhooks/{webhook_id}/rotate", { params: webhook(id) }));
  }

  /** What it was told, or is to be told, newest first, `limit` a page. */
  deliveries(id: string, query: { limit?: number } = {}): Pages<Delivery> {
    return new Pages(async (cursor) => {
      const params = { ...webhook(id), query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/webhooks/{webhook_id}/deliveries", { params }));
      return pageOf(found.deliveries, found.pagination);
    });
  }

  /** Try a delivery once more, from the beginning. */
  async retry(delivery: string): Promise<Delivery> {
    const params = { path: { delivery_id: checkedId(delivery) } };
    return answered(this.#wire.api.POST("/v1/webhooks/deliveries/{delivery_id}/retry", { params }));
  }
}

function webhook(id: string) {
  return { path: { webhook_id: checkedId(id) } };
}
