/** What was used and what it cost. */

import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { answered, checkedId, type Wire } from "../wire.js";

type Schemas = components["schemas"];
export type Usage = Schemas["UsageView"];
export type Invoice = Schemas["InvoiceView"];

/** Your use of the node; what you have is `wallet.balance()`. */
export class Billing {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** A month: "current", "last_month", or one such as "2026-11". */
  async usage(period = "current"): Promise<Usage> {
    return answered(this.#wire.api.GET("/v1/billing/usage", { params: { query: { period } } }));
  }

  /** Months that are over and in which you used something, newest first, `limit` a page. */
  invoices(query: { limit?: number } = {}): Pages<Invoice> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/billing/invoices", { params }));
      return pageOf(found.invoices, found.pagination);
    });
  }

  /** One invoice. */
  async invoice(id: string): Promise<Invoice> {
    const params = { path: { invoice_id: checkedId(id) } };
    return answered(this.#wire.api.GET("/v1/billing/invoices/{invoice_id}", { params }));
  }
}
