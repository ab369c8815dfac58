/** A client of a node: its resources, and the node itself. */

import { Files, Keys, Market, Projects, Providers, Wallet } from "./resources/account.js";
import { Billing } from "./resources/billing.js";
import { Jobs } from "./resources/jobs.js";
import { Runner } from "./resources/runner.js";
import { Agents, Deployments, Pods, Templates } from "./resources/services.js";
import { Users } from "./resources/users.js";
import { Webhooks } from "./resources/webhooks.js";
import { RETRIES, type Retries, type Sleep, sleep } from "./retries.js";
import type { components } from "./schema.js";
import { answered, Wire } from "./wire.js";

export interface Settings {
  /** A key of the node. */
  token: string;
  /** Where the node is; without it on this machine, as it listens by default. */
  baseUrl?: string;
  /** Seconds until an answer has come, beyond what the node is asked to wait. */
  timeout?: number;
  retries?: Partial<Retries>;
  /** What sends requests; without it the platform's own. */
  fetch?: (request: Request, init?: RequestInit) => Promise<Response>;
  /** What lets time pass between tries. */
  sleep?: Sleep;
}

/** How the node is: `status` is ok or degraded, `uptime` in seconds; the rest is for who has a key. */
export type Health = Record<string, unknown> & { status: string; uptime: number };

/** `new Neugrid({ token }).agents.list()`. Throws errors that are all NeugridError. */
export class Neugrid {
  readonly baseUrl: string;
  readonly jobs: Jobs;
  readonly runner: Runner;
  readonly deployments: Deployments;
  readonly agents: Agents;
  readonly pods: Pods;
  readonly templates: Templates;
  readonly projects: Projects;
  readonly files: Files;
  readonly providers: Providers;
  readonly market: Market;
  readonly wallet: Wallet;
  readonly keys: Keys;
  readonly users: Users;
  readonly billing: Billing;
  readonly webhooks: Webhooks;
  readonly #wire: Wire;

  constructor(settings: Settings) {
    const wire = new Wire({
      token: settings.token,
      baseUrl: settings.baseUrl ?? "http://127.0.0.1:8080",
      timeout: settings.timeout ?? 30,
      retries: { ...RETRIES, ...settings.retries },
      fetch: settings.fetch ?? ((request, init) => fetch(request, init)),
      sleep: settings.sleep ?? sleep,
    });
    this.#wire = wire;
    this.baseUrl = wire.baseUrl;
    this.jobs = new Jobs(wire);
    this.runner = new Runner(wire);
    this.deployments = new Deployments(wire);
    this.agents = new Agents(wire);
    this.pods = new Pods(wire);
    this.templates = new Templates(wire);
    this.projects = new Projects(wire);
    this.files = new Files(wire);
    this.providers = new Providers(wire);
    this.market = new Market(wire);
    this.wallet = new Wallet(wire);
    this.keys = new Keys(wire);
    this.users = new Users(wire);
    this.billing = new Billing(wire);
    this.webhooks = new Webhooks(wire);
  }

  /** How the node is. */
  async health(): Promise<Health> {
    return (await answered(this.#wire.api.GET("/v1/health"))) as Health;
  }

  /** Which program answers. */
  async version(): Promise<components["schemas"]["Version"]> {
    return answered(this.#wire.api.GET("/v1/version"));
  }
}
