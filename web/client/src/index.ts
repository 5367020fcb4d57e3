// The client of PrimeZap's API. `configure` once, then use the services; a program
// that speaks to several installations or tenants makes a client for each with
// `createClient`.
export { type APIKeys, apiKeysService } from "./apiKeys.js";
export { type AuditLog, auditLogService } from "./auditLog.js";
export { type Client, createClient } from "./client.js";
export { type ClientConfig, configure, type RequestOptions } from "./config.js";
export { type ConnectionOptions, type Connections, connectionsService } from "./connections.js";
export { type Contacts, contactsService } from "./contacts.js";
export { type Conversations, conversationsService } from "./conversations.js";
export { type CustomWebhooks, customWebhooksService } from "./customWebhooks.js";
export {
  type EventInput,
  type Events,
  eventsService,
  type PublishOptions,
  type PublishResult,
  publish,
} from "./events.js";
export {
  type FacebookLogin,
  type FacebookOAuth,
  type FlowOptions,
  facebookOAuthService,
  type LoginOptions,
} from "./facebookOAuth.js";
export { FacebookOAuthError, type FacebookOAuthReason, type MetaRefusal } from "./facebookPopup.js";
export {
  type Erasures,
  erasuresService,
  type TenantDeletions,
  tenantDeletionsService,
} from "./privacy.js";
export { ConnectionError, type FieldError, type Problem, ProblemError, TimeoutError } from "./problem.js";
export type * from "./types.js";
export {
  type VerifyOptions,
  verifyStandardWebhook,
  verifyWebhook,
  type WebhookEvent,
  type WebhookHeaders,
  type WebhookPayload,
  WebhookVerificationError,
  type WebhookVerificationReason,
} from "./verify.js";
