import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { AuditPage, Query } from "./types.js";

/** Who changed what, when. */
export interface AuditLog {
  /** Changes, newest first. */
  list(query?: Query<"listAuditLog">, options?: RequestOptions): Promise<AuditPage>;
}

export function auditLog(api: Api): AuditLog {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/audit-log", { params: { query }, ...init }), options),
  };
}

/** The audit log, of the installation that `configure` named. */
export const auditLogService: AuditLog = /* @__PURE__ */ auditLog(/* @__PURE__ */ new Api(configured));
