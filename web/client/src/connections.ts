import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type {
  Connection,
  ConnectionInput,
  ConnectionPage,
  ConnectionPatch,
  Query,
  RateLimitInput,
  RateLimitResetInput,
  RateLimitState,
} from "./types.js";

export interface ConnectionOptions extends RequestOptions {
  /** `false` does not ask Meta whether the token is the account's own. */
  verify?: boolean;
}

/** Numbers, pages and accounts that messages come and go through, and how many may go. */
export interface Connections {
  /** Connections, newest first. */
  list(query?: Query<"listConnections">, options?: RequestOptions): Promise<ConnectionPage>;
  get(id: string, options?: RequestOptions): Promise<Connection>;
  /** Connects an account. No answer shows its token. */
  create(input: ConnectionInput, options?: ConnectionOptions): Promise<Connection>;
  /** Changes the fields that are given. A new token makes a connection active that waited for one. */
  update(id: string, changes: ConnectionPatch, options?: ConnectionOptions): Promise<Connection>;
  /** Ends sending and receiving; the conversations stay. */
  delete(id: string, options?: RequestOptions): Promise<void>;

  /** What may be sent, and what is left of it. */
  getRateLimit(id: string, options?: RequestOptions): Promise<RateLimitState>;
  /** Sets the windows' limits: one that is absent takes its default. What is used stays used. */
  setRateLimit(id: string, limits: RateLimitInput, options?: RequestOptions): Promise<RateLimitState>;
  /** Begins a window anew, or all three. */
  resetRateLimit(id: string, input?: RateLimitResetInput, options?: RequestOptions): Promise<RateLimitState>;
}

const connection = "/api/connections/{id}";

export function connections(api: Api): Connections {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/connections", { params: { query }, ...init }), options),
    get: (id, options) =>
      api.call((http, init) => http.GET(connection, { params: { path: { id } }, ...init }), options),
    create: (body, options = {}) =>
      api.call(
        (http, init) =>
          http.POST("/api/connections", { params: { query: { verify: options.verify } }, body, ...init }),
        options,
      ),
    update: (id, body, options = {}) =>
      api.call(
        (http, init) =>
          http.PATCH(connection, {
            params: { path: { id }, query: { verify: options.verify } },
            body,
            ...init,
          }),
        options,
      ),
    delete: (id, options) =>
      api.call((http, init) => http.DELETE(connection, { params: { path: { id } }, ...init }), options),

    getRateLimit: (id, options) =>
      api.call(
        (http, init) => http.GET(`${connection}/rate-limit`, { params: { path: { id } }, ...init }),
        options,
      ),
    setRateLimit: (id, body, options) =>
      api.call(
        (http, init) => http.PUT(`${connection}/rate-limit`, { params: { path: { id } }, body, ...init }),
        options,
      ),
    resetRateLimit: (id, body = {}, options) =>
      api.call(
        (http, init) =>
          http.POST(`${connection}/rate-limit/reset`, { params: { path: { id } }, body, ...init }),
        options,
      ),
  };
}

/** Connections, of the installation that `configure` named. */
export const connectionsService: Connections = /* @__PURE__ */ connections(
  /* @__PURE__ */ new Api(configured),
);
