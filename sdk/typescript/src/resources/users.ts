/** Who uses the node: oneself, and for administrators everybody. */

import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { answered, checkedId, keyed, type Wire } from "../wire.js";
import type { Once } from "./jobs.js";
import type { Deleted } from "./services.js";

type Schemas = components["schemas"];
export type User = Schemas["UserView"];
export type Me = Schemas["MeView"];
export type Credits = Schemas["CreditsView"];
export type UserBody = Schemas["NewUser"];
export type UserChanges = Schemas["UserChanges"];

/** Users; all but `me`, and what concerns oneself, is for administrators. */
export class Users {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Who this client's token is, and what it may. */
  async me(): Promise<Me> {
    return answered(this.#wire.api.GET("/v1/auth/me"));
  }

  /** All users, oldest first, `limit` a page. */
  list(query: { limit?: number } = {}): Pages<User> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/users", { params }));
      return pageOf(found.users, found.pagination);
    });
  }

  /** A new user, who signs in with email and password. */
  async create(user: UserBody): Promise<User> {
    return answered(this.#wire.api.POST("/v1/users", { body: user }));
  }

  /** One user. */
  async get(id: string): Promise<User> {
    return answered(this.#wire.api.GET("/v1/users/{user_id}", { params: user(id) }));
  }

  /** Change what is named; role, tier and `isBlocked` are for administrators. */
  async update(id: string, changes: UserChanges): Promise<User> {
    return answered(this.#wire.api.PATCH("/v1/users/{user_id}", { params: user(id), body: changes }));
  }

  /** So many more runs of code that the user does not pay for; given once, however often it is sent. */
  async giveCredits(id: string, amount: number, once: Once = {}): Promise<Credits> {
    const call = { params: user(id), body: { amount }, headers: keyed(once.idempotencyKey) };
    return answered(this.#wire.api.POST("/v1/users/{user_id}/credits", call));
  }

  /** End the account: its keys and sessions go. Conflict while something of it runs. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/users/{user_id}", { params: user(id) }));
  }
}

function user(id: string) {
  return { path: { user_id: checkedId(id) } };
}
