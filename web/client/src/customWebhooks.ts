import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type {
  BulkResult,
  DeliveryPage,
  DeliveryState,
  FilterPreview,
  FilterPreviewInput,
  Query,
  RegenerateSecretInput,
  Replay,
  ReplayInput,
  TestInput,
  TestResult,
  Webhook,
  WebhookInput,
  WebhookLogPage,
  WebhookPage,
  WebhookPatch,
  WebhookStats,
  WebhookWithSecret,
} from "./types.js";

/** A test call is answered within 35 s by the API. */
const testCallMs = 45_000;

/** Endpoints and what became of their deliveries. */
export interface CustomWebhooks {
  /** Webhooks, newest first. */
  list(query?: Query<"listWebhooks">, options?: RequestOptions): Promise<WebhookPage>;
  get(id: string, options?: RequestOptions): Promise<Webhook>;
  /** The answer alone shows the secret. */
  create(input: WebhookInput, options?: RequestOptions): Promise<WebhookWithSecret>;
  /** Changes the fields that are given. */
  update(id: string, changes: WebhookPatch, options?: RequestOptions): Promise<Webhook>;
  /** Sets all fields: one that is absent takes its default, except the secret. */
  replace(id: string, input: WebhookInput, options?: RequestOptions): Promise<Webhook>;
  delete(id: string, options?: RequestOptions): Promise<void>;
  /** Makes an inactive webhook active again, also one that was disabled for failing. */
  enable(id: string, options?: RequestOptions): Promise<Webhook>;

  /** Attempts, newest first. */
  getLogs(id: string, query?: Query<"listWebhookLogs">, options?: RequestOptions): Promise<WebhookLogPage>;
  /** Of the last 30 days. */
  getStats(id: string, options?: RequestOptions): Promise<WebhookStats>;
  /** Makes a signed attempt now and says what the endpoint answered. */
  test(id: string, input?: TestInput, options?: RequestOptions): Promise<TestResult>;
  /** The answer alone shows the new secret. The old one signs beside it for the grace period, a day by default. */
  regenerateSecret(
    id: string,
    input?: RegenerateSecretInput,
    options?: RequestOptions,
  ): Promise<WebhookWithSecret>;

  /** Deliveries that are not done, newest first. */
  listQueue(id: string, query?: Query<"listDeliveries">, options?: RequestOptions): Promise<DeliveryPage>;
  /** Makes a delivery due now, also an exhausted one. */
  retryDelivery(id: string, deliveryId: string, options?: RequestOptions): Promise<void>;
  /** Makes all exhausted deliveries due now. Where `complete` is false there are more: ask again. */
  retryExhausted(id: string, options?: RequestOptions): Promise<BulkResult>;
  cancelDelivery(id: string, deliveryId: string, options?: RequestOptions): Promise<void>;
  /** Cancels all deliveries, or those in a state. Where `complete` is false there are more: ask again. */
  cancelAll(id: string, query?: { state?: DeliveryState }, options?: RequestOptions): Promise<BulkResult>;

  /** Begins to deliver stored events again. */
  replay(id: string, input: ReplayInput, options?: RequestOptions): Promise<Replay>;
  getReplay(replayId: string, options?: RequestOptions): Promise<Replay>;
  cancelReplay(replayId: string, options?: RequestOptions): Promise<void>;

  /** Tries a filter on data, or on the example of an event type. */
  previewFilter(input: FilterPreviewInput, options?: RequestOptions): Promise<FilterPreview>;
}

const hook = "/api/custom-webhooks/{id}";

export function customWebhooks(api: Api): CustomWebhooks {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/custom-webhooks", { params: { query }, ...init }), options),
    get: (id, options) =>
      api.call((http, init) => http.GET(hook, { params: { path: { id } }, ...init }), options),
    create: (body, options) =>
      api.call((http, init) => http.POST("/api/custom-webhooks", { body, ...init }), options),
    update: (id, body, options) =>
      api.call((http, init) => http.PATCH(hook, { params: { path: { id } }, body, ...init }), options),
    replace: (id, body, options) =>
      api.call((http, init) => http.PUT(hook, { params: { path: { id } }, body, ...init }), options),
    delete: (id, options) =>
      api.call((http, init) => http.DELETE(hook, { params: { path: { id } }, ...init }), options),
    enable: (id, options) =>
      api.call((http, init) => http.POST(`${hook}/enable`, { params: { path: { id } }, ...init }), options),

    getLogs: (id, query, options) =>
      api.call(
        (http, init) => http.GET(`${hook}/logs`, { params: { path: { id }, query }, ...init }),
        options,
      ),
    getStats: (id, options) =>
      api.call((http, init) => http.GET(`${hook}/stats`, { params: { path: { id } }, ...init }), options),
    test: (id, body = {}, options) =>
      api.call(
        (http, init) => http.POST(`${hook}/test`, { params: { path: { id } }, body, ...init }),
        options,
        testCallMs,
      ),
    regenerateSecret: (id, body = {}, options) =>
      api.call(
        (http, init) => http.POST(`${hook}/regenerate-secret`, { params: { path: { id } }, body, ...init }),
        options,
      ),

    listQueue: (id, query, options) =>
      api.call(
        (http, init) => http.GET(`${hook}/queue`, { params: { path: { id }, query }, ...init }),
        options,
      ),
    retryDelivery: (id, deliveryId, options) =>
      api.call(
        (http, init) =>
          http.POST(`${hook}/queue/{deliveryId}/retry`, { params: { path: { id, deliveryId } }, ...init }),
        options,
      ),
    retryExhausted: (id, options) =>
      api.call(
        (http, init) => http.POST(`${hook}/queue/retry`, { params: { path: { id } }, ...init }),
        options,
      ),
    cancelDelivery: (id, deliveryId, options) =>
      api.call(
        (http, init) =>
          http.DELETE(`${hook}/queue/{deliveryId}`, { params: { path: { id, deliveryId } }, ...init }),
        options,
      ),
    cancelAll: (id, query, options) =>
      api.call(
        (http, init) => http.DELETE(`${hook}/queue`, { params: { path: { id }, query }, ...init }),
        options,
      ),

    replay: (id, body, options) =>
      api.call(
        (http, init) => http.POST(`${hook}/replay`, { params: { path: { id } }, body, ...init }),
        options,
      ),
    getReplay: (id, options) =>
      api.call((http, init) => http.GET("/api/replays/{id}", { params: { path: { id } }, ...init }), options),
    cancelReplay: (id, options) =>
      api.call(
        (http, init) => http.DELETE("/api/replays/{id}", { params: { path: { id } }, ...init }),
        options,
      ),

    previewFilter: (body, options) =>
      api.call((http, init) => http.POST("/api/custom-webhooks/filter/preview", { body, ...init }), options),
  };
}

/** Custom webhooks, of the installation that `configure` named. */
export const customWebhooksService: CustomWebhooks = /* @__PURE__ */ customWebhooks(
  /* @__PURE__ */ new Api(configured),
);
