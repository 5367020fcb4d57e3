// Names for what the contract describes.
import type { components, operations } from "./openapi.gen.js";

type Schemas = components["schemas"];

/** The query parameters of an operation. */
export type Query<Operation extends keyof operations> = NonNullable<
  operations[Operation]["parameters"]["query"]
>;

export type APIKey = Schemas["APIKey"];
export type APIKeyInput = Schemas["APIKeyInput"];
export type APIKeyPage = Schemas["APIKeyPage"];
export type APIKeyWithKey = Schemas["APIKeyWithKey"];
export type Agent = Schemas["Agent"];
export type AuditEntry = Schemas["AuditEntry"];
export type AuditPage = Schemas["AuditPage"];
export type BulkResult = Schemas["BulkResult"];
export type Channel = Schemas["Channel"];
export type Connection = Schemas["Connection"];
export type ConnectionInput = Schemas["ConnectionInput"];
export type ConnectionPage = Schemas["ConnectionPage"];
export type ConnectionPatch = Schemas["ConnectionPatch"];
export type ConnectionStatus = Schemas["ConnectionStatus"];
export type Contact = Schemas["Contact"];
export type ContactPage = Schemas["ContactPage"];
export type ContactPatch = Schemas["ContactPatch"];
export type Conversation = Schemas["Conversation"];
export type ConversationPage = Schemas["ConversationPage"];
export type ConversationPatch = Schemas["ConversationPatch"];
export type ConversationStatus = Schemas["ConversationStatus"];
export type Delivery = Schemas["Delivery"];
export type DeliveryPage = Schemas["DeliveryPage"];
export type DeliveryState = Schemas["DeliveryState"];
export type Erasure = Schemas["Erasure"];
export type ErasureInput = Schemas["ErasureInput"];
export type EventAccepted = Schemas["EventAccepted"];
export type EventDetail = Schemas["EventDetail"];
export type EventPage = Schemas["EventPage"];
export type EventType = Schemas["EventType"];
export type Filter = Schemas["Filter"];
export type FilterPreview = Schemas["FilterPreview"];
export type FilterPreviewInput = Schemas["FilterPreviewInput"];
export type Message = Schemas["Message"];
export type MessagePage = Schemas["MessagePage"];
export type Pagination = Schemas["Pagination"];
export type RateLimitInput = Schemas["RateLimitInput"];
export type RateLimitResetInput = Schemas["RateLimitResetInput"];
export type RateLimitState = Schemas["RateLimitState"];
export type RateLimitWindow = Schemas["RateLimitWindow"];
export type RegenerateSecretInput = Schemas["RegenerateSecretInput"];
export type Replay = Schemas["Replay"];
export type ReplayInput = Schemas["ReplayInput"];
export type StoredEvent = Schemas["Event"];
export type TenantDeletion = Schemas["TenantDeletion"];
export type TenantDeletionInput = Schemas["TenantDeletionInput"];
export type TestInput = Schemas["TestInput"];
export type TestResult = Schemas["TestResult"];
export type Webhook = Schemas["Webhook"];
export type WebhookInput = Schemas["WebhookInput"];
export type WebhookLog = Schemas["WebhookLog"];
export type WebhookLogPage = Schemas["WebhookLogPage"];
export type WebhookPage = Schemas["WebhookPage"];
export type WebhookPatch = Schemas["WebhookPatch"];
export type WebhookStats = Schemas["WebhookStats"];
export type WebhookWithSecret = Schemas["WebhookWithSecret"];
export type WindowType = Schemas["WindowType"];
