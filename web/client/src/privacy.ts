import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { Erasure, ErasureInput, TenantDeletion, TenantDeletionInput } from "./types.js";

/** Erasing what is stored of a contact. */
export interface Erasures {
  /** Begins to erase. */
  create(input: ErasureInput, options?: RequestOptions): Promise<Erasure>;
  /** How far it is. */
  get(id: string, options?: RequestOptions): Promise<Erasure>;
}

/** Deleting a tenant with all that is stored of it: for keys with the scope `platform`. */
export interface TenantDeletions {
  /** Begins to delete. */
  create(input: TenantDeletionInput, options?: RequestOptions): Promise<TenantDeletion>;
  /** How far it is. */
  get(id: string, options?: RequestOptions): Promise<TenantDeletion>;
}

export function erasures(api: Api): Erasures {
  return {
    create: (body, options) =>
      api.call((http, init) => http.POST("/api/erasures", { body, ...init }), options),
    get: (id, options) =>
      api.call(
        (http, init) => http.GET("/api/erasures/{id}", { params: { path: { id } }, ...init }),
        options,
      ),
  };
}

export function tenantDeletions(api: Api): TenantDeletions {
  return {
    create: (body, options) =>
      api.call((http, init) => http.POST("/api/tenant-deletions", { body, ...init }), options),
    get: (id, options) =>
      api.call(
        (http, init) => http.GET("/api/tenant-deletions/{id}", { params: { path: { id } }, ...init }),
        options,
      ),
  };
}

/** Erasures, of the installation that `configure` named. */
export const erasuresService: Erasures = /* @__PURE__ */ erasures(/* @__PURE__ */ new Api(configured));

/** Deletions of tenants, of the installation that `configure` named. */
export const tenantDeletionsService: TenantDeletions = /* @__PURE__ */ tenantDeletions(
  /* @__PURE__ */ new Api(configured),
);
