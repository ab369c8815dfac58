/** Jobs: priced one-shot orders. */

import { followed, isLog, type Streaming } from "../events.js";
import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { ended } from "../waiting.js";
import { answered, checkedId, keyed, type Wire } from "../wire.js";

type Schemas = components["schemas"];
export type Job = Schemas["JobView"];
export type JobBody = Schemas["SubmitJob"];
export type LogRecord = Schemas["LogRecord"];
export type Results = Schemas["ResultList"];
export type Explanation = Schemas["ExplanationView"];

/** Something that happened to a job or to a lease of it. */
export interface JobEvent {
  seq: number;
  noun: string;
  subject: string;
  at: string;
  event: string;
  body: unknown;
}

/** Which lines: `since` is a duration ("1h") or a time, `stream` stdout or stderr, `level` the least one. */
export interface LogFilter {
  since?: string;
  stream?: string;
  level?: string;
}

/** Makes a call happen once: two calls under one key are one. */
export interface Once {
  idempotencyKey?: string;
}

/** Post, follow, cancel, fetch results. */
export class Jobs {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Post a job; it is posted once, however often it is sent. */
  async submit(job: JobBody, once: Once = {}): Promise<Job> {
    return answered(this.#wire.api.POST("/v1/jobs", { body: job, headers: keyed(once.idempotencyKey) }));
  }

  /** Your jobs, newest first, `limit` a page; `status` may name several, separated by commas. */
  list(query: { status?: string; limit?: number } = {}): Pages<Job> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/jobs", { params }));
      return pageOf(found.jobs, found.pagination);
    });
  }

  /** One job as it stands. */
  async get(id: string): Promise<Job> {
    return this.#look(id, 0);
  }

  /** The job once it has ended; throws TimedOut after so many seconds. */
  async wait(id: string, options: { timeout?: number } = {}): Promise<Job> {
    return ended(this.#wire, (wait) => this.#look(id, wait), options.timeout);
  }

  /** End it now; what it used until then is paid. Throws Conflict when it has ended. */
  async cancel(id: string): Promise<Job> {
    return answered(this.#wire.api.POST("/v1/jobs/{job_id}/cancel", { params: path(id) }));
  }

  /** The last lines of output. */
  async logs(id: string, query: LogFilter & { tail?: number } = {}): Promise<LogRecord[]> {
    const params = { ...path(id), query };
    return (await answered(this.#wire.api.GET("/v1/jobs/{job_id}/logs", { params }))).logs;
  }

  /** Lines as they come, to the end; a broken connection is made anew behind the last line. */
  followLogs(id: string, query: LogFilter = {}): AsyncGenerator<LogRecord> {
    const params = { ...path(id), query: { ...query, follow: true } };
    return followed(this.#wire, (as) => this.#wire.api.GET("/v1/jobs/{job_id}/logs", { params, ...as }), isLog);
  }

  /** Everything that happens to the job, as it happens, to its end. */
  events(id: string): AsyncGenerator<JobEvent> {
    const params = path(id);
    const open = (as: Streaming) => this.#wire.api.GET("/v1/jobs/{job_id}/events", { params, ...as });
    return followed(this.#wire, open, (name) => name !== "closing");
  }

  /** The output files of a job that has ended. */
  async results(id: string): Promise<Results> {
    return answered(this.#wire.api.GET("/v1/jobs/{job_id}/results", { params: path(id) }));
  }

  /** One output file. */
  async download(id: string, file: string): Promise<Uint8Array> {
    file.split("/").forEach(checkedId);
    const params = { path: { job_id: checkedId(id), path: file } };
    const call = this.#wire.api.GET("/v1/jobs/{job_id}/results/{path}", { params, parseAs: "arrayBuffer" });
    return new Uint8Array(await answered(call));
  }

  /** How the live offers stand to the job, and what would help. */
  async explain(id: string): Promise<Explanation> {
    return answered(this.#wire.api.GET("/v1/jobs/{job_id}/explain", { params: path(id) }));
  }

  async #look(id: string, wait: number): Promise<Job> {
    const params = { ...path(id), query: wait > 0 ? { wait } : {} };
    return answered(this.#wire.api.GET("/v1/jobs/{job_id}", { params }));
  }
}

function path(id: string) {
  return { path: { job_id: checkedId(id) } };
}
