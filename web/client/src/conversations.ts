import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { Conversation, ConversationPage, ConversationPatch, MessagePage, Query } from "./types.js";

/** What was said with a contact through a connection. */
export interface Conversations {
  /** Conversations, newest first. */
  list(query?: Query<"listConversations">, options?: RequestOptions): Promise<ConversationPage>;
  get(id: string, options?: RequestOptions): Promise<Conversation>;
  /** Assigns a conversation or puts it on hold. A closed one is reopened first. */
  update(id: string, changes: ConversationPatch, options?: RequestOptions): Promise<Conversation>;
  /** Ends a conversation: the contact's next message begins another. */
  close(id: string, options?: RequestOptions): Promise<Conversation>;
  /** Opens a closed conversation, unless there is another open one with the contact. */
  reopen(id: string, options?: RequestOptions): Promise<Conversation>;
  /** Messages, newest first. */
  listMessages(id: string, query?: Query<"listMessages">, options?: RequestOptions): Promise<MessagePage>;
}

const conversation = "/api/conversations/{id}";

export function conversations(api: Api): Conversations {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/conversations", { params: { query }, ...init }), options),
    get: (id, options) =>
      api.call((http, init) => http.GET(conversation, { params: { path: { id } }, ...init }), options),
    update: (id, body, options) =>
      api.call(
        (http, init) => http.PATCH(conversation, { params: { path: { id } }, body, ...init }),
        options,
      ),
    close: (id, options) =>
      api.call(
        (http, init) => http.POST(`${conversation}/close`, { params: { path: { id } }, ...init }),
        options,
      ),
    reopen: (id, options) =>
      api.call(
        (http, init) => http.POST(`${conversation}/reopen`, { params: { path: { id } }, ...init }),
        options,
      ),
    listMessages: (id, query, options) =>
      api.call(
        (http, init) => http.GET(`${conversation}/messages`, { params: { path: { id }, query }, ...init }),
        options,
      ),
  };
}

/** Conversations, of the installation that `configure` named. */
export const conversationsService: Conversations = /* @__PURE__ */ conversations(
  /* @__PURE__ */ new Api(configured),
);
