import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { APIKeyInput, APIKeyPage, APIKeyWithKey, Query } from "./types.js";

/** Who may call the API. */
export interface APIKeys {
  /** Keys that are valid, newest first. */
  list(query?: Query<"listAPIKeys">, options?: RequestOptions): Promise<APIKeyPage>;
  /** The answer alone shows the key. */
  create(input: APIKeyInput, options?: RequestOptions): Promise<APIKeyWithKey>;
  revoke(id: string, options?: RequestOptions): Promise<void>;
}

export function apiKeys(api: Api): APIKeys {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/api-keys", { params: { query }, ...init }), options),
    create: (body, options) =>
      api.call((http, init) => http.POST("/api/api-keys", { body, ...init }), options),
    revoke: (id, options) =>
      api.call(
        (http, init) => http.DELETE("/api/api-keys/{id}", { params: { path: { id } }, ...init }),
        options,
      ),
  };
}

/** API keys, of the installation that `configure` named. */
export const apiKeysService: APIKeys = /* @__PURE__ */ apiKeys(/* @__PURE__ */ new Api(configured));
