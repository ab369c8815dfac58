/** Services that stay up, as deployments and as agents; their pods; templates. */

import { followed, isLog, type Streaming } from "../events.js";
import { Pages, pageOf } from "../paging.js";
import type { components } from "../schema.js";
import { answered, checkedId, keyed, type Wire } from "../wire.js";
import type { Explanation, LogFilter, LogRecord, Once } from "./jobs.js";

type Schemas = components["schemas"];
export type Deployment = Schemas["DeploymentView"];
export type DeploymentBody = Schemas["NewDeployment"];
export type DeploymentChanges = Schemas["DeploymentChanges"];
export type Agent = Schemas["AgentView"];
export type AgentBody = Schemas["NewAgent"];
export type AgentChanges = Schemas["AgentChanges"];
export type Pod = Schemas["PodView"];
export type Template = Schemas["TemplateView"];
export type Metrics = Schemas["MetricsView"];
export type Deleted = Schemas["Deleted"];

/** `period` is 1h, 24h or 7d; `metric` cpu, memory, network or gpu, all without it. */
export interface MetricsQuery {
  period?: string;
  metric?: string;
}

/** Services from a template or an image, with as many pods as you want. */
export class Deployments {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Bring up a template or an image; it is created once, however often it is sent. */
  async create(deployment: DeploymentBody, once: Once = {}): Promise<Schemas["DeploymentCreated"]> {
    const headers = keyed(once.idempotencyKey);
    return answered(this.#wire.api.POST("/v1/deployments", { body: deployment, headers }));
  }

  /** Your deployments and agents, newest first, `limit` a page; `status` may name several. */
  list(query: { status?: string; limit?: number } = {}): Pages<Deployment> {
    return new Pages(async (cursor) => {
      const params = { query: { limit: 100, ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/deployments", { params }));
      return pageOf(found.deployments, found.pagination);
    });
  }

  /** One deployment with its pods, its endpoints and what it has cost so far. */
  async get(id: string): Promise<Deployment> {
    return one(this.#wire.api.GET("/v1/deployments/{deployment_id}", { params: deployment(id) }));
  }

  /** Change what is named; pods are replaced one after the other when what they run changes. */
  async update(id: string, changes: DeploymentChanges): Promise<Deployment> {
    const options = { params: deployment(id), body: changes };
    return one(this.#wire.api.PATCH("/v1/deployments/{deployment_id}", options));
  }

  /** End it for good; what its pods used until then is paid. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/deployments/{deployment_id}", { params: deployment(id) }));
  }

  /** Bring it up again, in its old places. */
  async start(id: string): Promise<Deployment> {
    const { api, again: fetch } = this.#wire;
    return one(api.POST("/v1/deployments/{deployment_id}/start", { params: deployment(id), fetch }));
  }

  /** Take it down; everything that was set stays. */
  async stop(id: string): Promise<Deployment> {
    const { api, again: fetch } = this.#wire;
    return one(api.POST("/v1/deployments/{deployment_id}/stop", { params: deployment(id), fetch }));
  }

  /** Replace every pod by a new one, one after the other; once, however often it is sent. */
  async restart(id: string, once: Once = {}): Promise<Deployment> {
    const options = { params: deployment(id), headers: keyed(once.idempotencyKey) };
    return one(this.#wire.api.POST("/v1/deployments/{deployment_id}/restart", options));
  }

  /** Keep so many pods up. */
  async scale(id: string, replicas: number): Promise<Deployment> {
    const { api, again: fetch } = this.#wire;
    const options = { params: deployment(id), body: { replicas }, fetch };
    return one(api.POST("/v1/deployments/{deployment_id}/scale", options));
  }

  /** The last lines of all pods. */
  async logs(id: string, query: LogFilter & { tail?: number } = {}): Promise<LogRecord[]> {
    const params = { ...deployment(id), query };
    return (await answered(this.#wire.api.GET("/v1/deployments/{deployment_id}/logs", { params }))).logs;
  }

  /** Lines of all pods as they come, until it is deleted. */
  followLogs(id: string, query: LogFilter = {}): AsyncGenerator<LogRecord> {
    const params = { ...deployment(id), query: { ...query, follow: true } };
    const open = (as: Streaming) => this.#wire.api.GET("/v1/deployments/{deployment_id}/logs", { params, ...as });
    return followed(this.#wire, open, isLog);
  }

  /** What all pods used together. */
  async metrics(id: string, query: MetricsQuery = {}): Promise<Metrics> {
    const params = { ...deployment(id), query };
    return answered(this.#wire.api.GET("/v1/deployments/{deployment_id}/metrics", { params }));
  }

  /** How the live offers stand to one more pod, and what would find providers. */
  async explain(id: string): Promise<Explanation> {
    return answered(this.#wire.api.GET("/v1/deployments/{deployment_id}/explain", { params: deployment(id) }));
  }
}

/** The same services as agents: programs or images under a runtime. */
export class Agents {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** Bring up an agent; it is created once, however often it is sent. */
  async create(agent: AgentBody, once: Once = {}): Promise<Agent> {
    return answered(this.#wire.api.POST("/v1/agents", { body: agent, headers: keyed(once.idempotencyKey) }));
  }

  /** Your agents, `limit` a page; `sort` is `<field>:asc` or `<field>:desc`. */
  list(query: { status?: string; region?: string; sort?: string; limit?: number } = {}): Pages<Agent> {
    return new Pages(async (cursor) => {
      const params = { query: { ...query, cursor } };
      const found = await answered(this.#wire.api.GET("/v1/agents", { params }));
      return pageOf(found.agents, found.pagination);
    });
  }

  /** One agent. */
  async get(id: string): Promise<Agent> {
    return answered(this.#wire.api.GET("/v1/agents/{agent_id}", { params: agent(id) }));
  }

  /** Change what is named; the rest stays. */
  async update(id: string, changes: AgentChanges): Promise<Agent> {
    return answered(this.#wire.api.PATCH("/v1/agents/{agent_id}", { params: agent(id), body: changes }));
  }

  /** End it for good; what it used until then is paid. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/agents/{agent_id}", { params: agent(id) }));
  }

  /** Bring it up again. */
  async start(id: string): Promise<Agent> {
    const { api, again: fetch } = this.#wire;
    return answered(api.POST("/v1/agents/{agent_id}/start", { params: agent(id), fetch }));
  }

  /** Take it down; everything that was set stays. */
  async stop(id: string): Promise<Agent> {
    const { api, again: fetch } = this.#wire;
    return answered(api.POST("/v1/agents/{agent_id}/stop", { params: agent(id), fetch }));
  }

  /** Replace its pods by new ones, one after the other; once, however often it is sent. */
  async restart(id: string, once: Once = {}): Promise<Agent> {
    const options = { params: agent(id), headers: keyed(once.idempotencyKey) };
    return answered(this.#wire.api.POST("/v1/agents/{agent_id}/restart", options));
  }

  /** Keep so many pods up. */
  async scale(id: string, replicas: number): Promise<Agent> {
    const { api, again: fetch } = this.#wire;
    return answered(api.POST("/v1/agents/{agent_id}/scale", { params: agent(id), body: { replicas }, fetch }));
  }

  /** The last lines of all pods. */
  async logs(id: string, query: LogFilter & { tail?: number } = {}): Promise<LogRecord[]> {
    const params = { ...agent(id), query };
    return (await answered(this.#wire.api.GET("/v1/agents/{agent_id}/logs", { params }))).logs;
  }

  /** Lines of all pods as they come, until it is deleted. */
  followLogs(id: string, query: LogFilter = {}): AsyncGenerator<LogRecord> {
    const params = { ...agent(id), query: { ...query, follow: true } };
    return followed(this.#wire, (as) => this.#wire.api.GET("/v1/agents/{agent_id}/logs", { params, ...as }), isLog);
  }

  /** What all pods used together. */
  async metrics(id: string, query: MetricsQuery = {}): Promise<Metrics> {
    return answered(this.#wire.api.GET("/v1/agents/{agent_id}/metrics", { params: { ...agent(id), query } }));
  }
}

/** Single instances of services. */
export class Pods {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** All your pods, those that run and those that are stopped. */
  list(query: { status?: string; limit?: number } = {}): Pages<Pod> {
    return new Pages(async (cursor) => {
      const found = await answered(this.#wire.api.GET("/v1/pods", { params: { query: { ...query, cursor } } }));
      return pageOf(found.pods, found.pagination);
    });
  }

  /** One pod. */
  async get(id: string): Promise<Pod> {
    return answered(this.#wire.api.GET("/v1/pods/{pod_id}", { params: pod(id) }));
  }

  /** Bring one pod up again; of a stopped service it starts alone. */
  async start(id: string): Promise<Pod> {
    const { api, again: fetch } = this.#wire;
    return answered(api.POST("/v1/pods/{pod_id}/start", { params: pod(id), fetch }));
  }

  /** Take one pod down; its place and its volumes stay. */
  async stop(id: string): Promise<Pod> {
    const { api, again: fetch } = this.#wire;
    return answered(api.POST("/v1/pods/{pod_id}/stop", { params: pod(id), fetch }));
  }

  /** Take one pod away for good: its service wants one less from now on. */
  async delete(id: string): Promise<Deleted> {
    return answered(this.#wire.api.DELETE("/v1/pods/{pod_id}", { params: pod(id) }));
  }

  /** The last lines of one pod. */
  async logs(id: string, query: LogFilter & { tail?: number } = {}): Promise<LogRecord[]> {
    const params = { ...pod(id), query };
    return (await answered(this.#wire.api.GET("/v1/pods/{pod_id}/logs", { params }))).logs;
  }

  /** Lines of one pod as they come. */
  followLogs(id: string, query: LogFilter = {}): AsyncGenerator<LogRecord> {
    const params = { ...pod(id), query: { ...query, follow: true } };
    return followed(this.#wire, (as) => this.#wire.api.GET("/v1/pods/{pod_id}/logs", { params, ...as }), isLog);
  }
}

/** What a deployment can be made of. */
export class Templates {
  readonly #wire: Wire;

  constructor(wire: Wire) {
    this.#wire = wire;
  }

  /** All templates of the node. */
  async list(): Promise<Template[]> {
    return (await answered(this.#wire.api.GET("/v1/templates"))).templates;
  }

  /** One template. */
  async get(id: string): Promise<Template> {
    const params = { path: { template_id: checkedId(id) } };
    return answered(this.#wire.api.GET("/v1/templates/{template_id}", { params }));
  }
}

async function one(call: Parameters<typeof answered<{ deployment: Deployment }>>[0]): Promise<Deployment> {
  return (await answered(call)).deployment;
}

function deployment(id: string) {
  return { path: { deployment_id: checkedId(id) } };
}

function agent(id: string) {
  return { path: { agent_id: checkedId(id) } };
}

function pod(id: string) {
  return { path: { pod_id: checkedId(id) } };
}
