/** Code: run in a fresh sandbox of some provider. */

import type { components } from "../schema.js";
import { ended } from "../waiting.js";
import { answered, checkedId, keyed, type Wire } from "../wire.js";
import type { Once } from "./jobs.js";

type Schemas = components["schemas"];
export type Run = Schemas["ResultData"];
export type CodeBody = Schemas["SubmitCode"];
export type Language = Schemas["LanguageView"];

/** Submit code, and read what came of it. */
export class Runner {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Run code with `input`, or once for each of `inputs` instead; what came of it. Throws TimedOut after so many seconds. */
  async run(code: CodeBody, options: Once & { timeout?: number } = {}): Promise<Run> {
    const { jobId } = await this.submit(code, options);
    return ended(this.#wire, (wait) => this.#look(jobId, wait), options.timeout);
  }

  /** Run code, and do not wait. Not repeated once it may have arrived: a node that does not know the key runs it twice. */
  async submit(code: CodeBody, once: Once = {}): Promise<Schemas["SubmittedData"]> {
    const { api, once: fetch } = this.#wire;
    const headers = keyed(once.idempotencyKey);
    return (await answered(api.POST("/api/v1/runner/submit", { body: code, headers, fetch }))).data;
  }

  /** A run as it stands. */
  async result(id: string): Promise<Run> {
    return this.#look(id, 0);
  }

  /** The languages that code can be run in now. */
  async languages(): Promise<Language[]> {
    return (await answered(this.#wire.api.GET("/v1/languages"))).languages;
  }

  async #look(id: string, wait: number): Promise<Run> {
    const params = { path: { job_id: checkedId(id) }, query: wait > 0 ? { wait } : {} };
    return (await answered(this.#wire.api.GET("/api/v1/runner/{job_id}/result", { params }))).data;
  }
}
