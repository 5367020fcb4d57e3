import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { Contact, ContactPage, ContactPatch, Query } from "./types.js";

/** People who wrote, or were written to. */
export interface Contacts {
  /** Contacts, newest first. */
  list(query?: Query<"listContacts">, options?: RequestOptions): Promise<ContactPage>;
  get(id: string, options?: RequestOptions): Promise<Contact>;
  /** Changes the fields that are given. */
  update(id: string, changes: ContactPatch, options?: RequestOptions): Promise<Contact>;
}

export function contacts(api: Api): Contacts {
  return {
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/contacts", { params: { query }, ...init }), options),
    get: (id, options) =>
      api.call(
        (http, init) => http.GET("/api/contacts/{id}", { params: { path: { id } }, ...init }),
        options,
      ),
    update: (id, body, options) =>
      api.call(
        (http, init) => http.PATCH("/api/contacts/{id}", { params: { path: { id } }, body, ...init }),
        options,
      ),
  };
}

/** Contacts, of the installation that `configure` named. */
export const contactsService: Contacts = /* @__PURE__ */ contacts(/* @__PURE__ */ new Api(configured));
