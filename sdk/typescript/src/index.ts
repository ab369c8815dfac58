/** A client of Neugrid, a decentralized compute marketplace. */

export * from "./errors.js";
export { Neugrid, type Health, type Settings } from "./neugrid.js";
export { Pages, type Page } from "./paging.js";
export type { Retries } from "./retries.js";
export type * from "./resources/account.js";
export type * from "./resources/billing.js";
export type * from "./resources/jobs.js";
export type * from "./resources/runner.js";
export type * from "./resources/services.js";
export type * from "./resources/users.js";
export type * from "./resources/webhooks.js";
export { type Delivered, type WebhookEvent, verifyWebhook } from "./webhooks.js";
export type { components, paths } from "./schema.js";
