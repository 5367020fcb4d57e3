/** Where the API is and who asks. */
export interface ClientConfig {
  /** Such as `https://primezap.example.com`. Empty in a page that the API's own host serves. */
  baseUrl: string;
  /** An API key or a user's JSON Web Token; a function is asked before each request. */
  token: string | (() => string | Promise<string>);
  /** The tenant to act for, with a key that has the scope `platform`. */
  tenantId?: string;
  /** Bounds each request. Default: 30 000; 45 000 for a test call, 50 000 for what Meta is asked. */
  timeoutMs?: number;
  /** The path of the OAuth service, which also answers as an edge function does. Default: `/api/oauth/facebook`. */
  facebookOAuthPath?: "/api/oauth/facebook" | "/functions/v1/facebook-oauth";
  /** Sends the requests. Default: the global `fetch`. */
  fetch?: (request: Request) => Promise<Response>;
}

/** For one call. */
export interface RequestOptions {
  /** Breaks the call off; it then throws the signal's reason. */
  signal?: AbortSignal;
  /** Bounds each request of the call, instead of the configuration's. */
  timeoutMs?: number;
}

let current: ClientConfig | undefined;

/** Sets what the services of this package use. May be called again, for example after a login. */
export function configure(config: ClientConfig): void {
  current = config;
}

/** The configuration of the services. */
export function configured(): ClientConfig {
  if (current === undefined) {
    throw new Error("@primezap/client: call configure({ baseUrl, token }) first");
  }
  return current;
}
