import { Api } from "./api.js";
import { type APIKeys, apiKeys } from "./apiKeys.js";
import { type AuditLog, auditLog } from "./auditLog.js";
import type { ClientConfig } from "./config.js";
import { type Connections, connections } from "./connections.js";
import { type Contacts, contacts } from "./contacts.js";
import { type Conversations, conversations } from "./conversations.js";
import { type CustomWebhooks, customWebhooks } from "./customWebhooks.js";
import { type Events, events } from "./events.js";
import { type FacebookOAuth, facebookOAuth } from "./facebookOAuth.js";
import { type Erasures, erasures, type TenantDeletions, tenantDeletions } from "./privacy.js";

/** The services, of one installation and for whom the token is. */
export interface Client {
  apiKeys: APIKeys;
  auditLog: AuditLog;
  connections: Connections;
  contacts: Contacts;
  conversations: Conversations;
  customWebhooks: CustomWebhooks;
  erasures: Erasures;
  events: Events;
  facebookOAuth: FacebookOAuth;
  tenantDeletions: TenantDeletions;
}

/** Makes a client, independent of `configure` and of other clients. */
export function createClient(config: ClientConfig): Client {
  const api = new Api(() => config);
  return {
    apiKeys: apiKeys(api),
    auditLog: auditLog(api),
    connections: connections(api),
    contacts: contacts(api),
    conversations: conversations(api),
    customWebhooks: customWebhooks(api),
    erasures: erasures(api),
    events: events(api),
    facebookOAuth: facebookOAuth(api),
    tenantDeletions: tenantDeletions(api),
  };
}
