/** The market, the wallet, the keys, uploads, and projects to build. */

import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { answered, checkedId, keyed, type Wire } from "../wire.js";
import type { Once } from "./jobs.js";
import type { Deleted } from "./services.js";

type Schemas = components["schemas"];
export type Provider = Schemas["ProviderView"];
export type PriceTable = Schemas["PriceTable"];
export type Balance = Schemas["BalanceView"];
export type Earnings = Schemas["EarningsView"];
export type Withdrawal = Schemas["WithdrawalView"];
export type Refund = Schemas["RefundView"];
export type Key = Schemas["KeyView"];
export type Project = Schemas["ProjectView"];
export type ProjectBody = Schemas["NewProject"];
export type StoredFile = Schemas["StoredFile"];
export type HeldFile = Schemas["HeldFile"];

/** Who offers hardware now. */
export class Providers {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Providers with a live offer, each with its best one; reputation runs from 0 to 1000. */
  list(query: { gpu?: boolean; minReputation?: number; region?: string; limit?: number } = {}): Pages<Provider> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/providers", { params }));
      return pageOf(found.providers, found.pagination);
    });
  }

  /** One provider with all of its live offers, by its id or its chain address. */
  async get(id: string): Promise<Provider> {
    const params = { path: { provider_id: checkedId(id) } };
    return answered(this.#wire.api.GET("/v1/providers/{provider_id}", { params }));
  }
}

/** Prices and sizes. */
export class Market {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** What live offers ask, per hour in tokens. */
  async prices(): Promise<PriceTable> {
    return answered(this.#wire.api.GET("/v1/market/prices"));
  }

  /** How much market there is. */
  async stats(): Promise<Record<string, unknown>> {
    return answered(this.#wire.api.GET("/v1/market/stats"));
  }
}

/** The node's money; amounts are decimal strings of tokens. */
export class Wallet {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** What the node's wallet holds, and what lies in channels. */
  async balance(): Promise<Balance> {
    return answered(this.#wire.api.GET("/v1/wallet/balance"));
  }

  /** What this provider earned, and how far it has come to hand. */
  async earnings(): Promise<Earnings> {
    return answered(this.#wire.api.GET("/v1/wallet/earnings"));
  }

  /** Claim and withdraw: all, to the node's own address, unless said otherwise; once, however often it is sent. */
  async withdraw(what: Schemas["WithdrawBody"] = {}, once: Once = {}): Promise<Withdrawal> {
    const headers = keyed(once.idempotencyKey);
    return answered(this.#wire.api.POST("/v1/wallet/withdraw", { body: what, headers }));
  }

  /** What was withdrawn, newest first, `limit` a page. */
  withdrawals(query: { limit?: number } = {}): Pages<Withdrawal> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/wallet/withdraw", { params }));
      return pageOf(found.withdrawals, found.pagination);
    });
  }

  /** How a withdrawal stands. */
  async withdrawal(id: string): Promise<Withdrawal> {
    const params = { path: { withdrawal_id: checkedId(id) } };
    return answered(this.#wire.api.GET("/v1/wallet/withdraw/{withdrawal_id}", { params }));
  }

  /** What moved your balance, newest first, `limit` a page; for administrators what the wallet sent to the chain. */
  transactions(query: { limit?: number } = {}): Pages<Record<string, unknown>> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/wallet/transactions", { params }));
      return pageOf(found.transactions, found.pagination);
    });
  }

  /** Take unused deposits back, once, however often it is sent; one entry a channel. */
  async refund(once: Once = {}): Promise<Refund[]> {
    const headers = keyed(once.idempotencyKey);
    return (await answered(this.#wire.api.POST("/v1/wallet/refund", { headers }))).refunds;
  }
}

/** Who may call. */
export class Keys {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Your keys, without their secrets. */
  async list(): Promise<Key[]> {
    return (await answered(this.#wire.api.GET("/v1/keys"))).keys;
  }

  /** A new key, which lives so long ("30d", "90d", "1y"; without it for ever); `key` is its secret, told once. */
  async create(name: string, expiresIn?: string): Promise<Key> {
    return answered(this.#wire.api.POST("/v1/keys", { body: { name, expiresIn: expiresIn ?? null } }));
  }

  /** Revoke a key; it is refused from now on. */
  async revoke(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/keys/{key_id}", { params: { path: { key_id: checkedId(id) } } }));
  }
}

/** Inputs by content. */
export class Files {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Leave a file with the node; its `digest` names it in `inputs` of jobs. */
  async upload(content: Uint8Array): Promise<StoredFile> {
    const headers = { "Content-Type": "application/octet-stream" };
    const bodySerializer = (body: unknown) => body as BodyInit;
    return answered(this.#wire.api.PUT("/v1/files", { body: content as never, bodySerializer, headers }));
  }

  /** What you have there, uploads and outputs, those used last first, `limit` a page. */
  list(query: { limit?: number } = {}): Pages<HeldFile> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/files", { params }));
      return pageOf(found.files, found.pagination);
    });
  }

  /** Let go of a file; a conflict while what has not ended works with it. */
  async delete(digest: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/files/{digest}", { params: { path: { digest: checkedId(digest) } } }));
  }
}

/** Repositories that images are built of. */
export class Projects {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** A project of a repository; `jobs.submit({ projectId })` builds it. */
  async create(project: ProjectBody): Promise<Project> {
    return answered(this.#wire.api.POST("/v1/projects", { body: project }));
  }

  /** Your projects, newest first, `limit` a page. */
  list(query: { limit?: number } = {}): Pages<Project> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/projects", { params }));
      return pageOf(found.projects, found.pagination);
    });
  }

  /** One project. */
  async get(id: string): Promise<Project> {
    return answered(this.#wire.api.GET("/v1/projects/{project_id}", { params: project(id) }));
  }

  /** Forget a project; its jobs, and the pods that run its image, stay. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/projects/{project_id}", { params: project(id) }));
  }
}

function project(id: string) {
  return { path: { project_id: checkedId(id) } };
}
