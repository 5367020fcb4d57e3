import { Api } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import { aborted, FacebookOAuthError, type MetaRefusal, openPopup, type Popup } from "./facebookPopup.js";
import type {
  AuthURL,
  Disconnected,
  ExchangedCode,
  FacebookOAuthAction,
  GrantedConnections,
  RefreshedGrant,
  SubscribedWebhook,
  UnsubscribedWebhook,
} from "./types.js";

/** What each action answers. */
interface Results {
  get_auth_url: AuthURL;
  exchange_code: ExchangedCode;
  subscribe_webhook: SubscribedWebhook;
  unsubscribe_webhook: UnsubscribedWebhook;
  list_connections: GrantedConnections;
  refresh: RefreshedGrant;
  disconnect: Disconnected;
}

type Action<Name extends keyof Results> = Extract<FacebookOAuthAction, { action: Name }>;
type Input<Name extends keyof Results> = Omit<Action<Name>, "action">;

/** What to ask for. */
export interface LoginOptions {
  /**
   * Where the dialog comes back to: a callback page of the installation, as it stands in its
   * OAUTH_REDIRECT_ALLOWLIST. Default: `/integracoes/facebook/callback` of `baseUrl`, or of the page's own
   * origin where that is empty.
   */
  redirectUri?: string;
  /** Permissions, of those that the installation asks for. Default: all of them. */
  scopes?: readonly string[];
  /** `rerequest` asks again for what was declined; `reauthorize` renews the access to data. */
  authType?: "rerequest" | "reauthorize";
}

/** For one login in a pop-up. */
export interface FlowOptions extends LoginOptions {
  /** `true` has the code exchanged too: the login then resolves with what came of it. */
  exchange?: boolean;
  /** For how long the pop-up stays. Default: 300 000; after 600 000 the state is good no more. */
  timeoutMs?: number;
  /** Breaks the login off, and closes the pop-up. */
  signal?: AbortSignal;
}

/** What the pop-up came back with, and what it was asked with. */
export interface FacebookLogin {
  /** Good once, for ten minutes. */
  code: string;
  state: string;
  redirectUri: string;
}

/** Facebook pages and Instagram accounts, connected by Facebook Login. */
export interface FacebookOAuth {
  /**
   * Has the user log in to Facebook in a pop-up. Call it from a click, before anything is awaited: else
   * browsers block the pop-up. It is closed, and no listener or timer is left, however the login ends.
   *
   * Throws a FacebookOAuthError, whose `reason` tells the ways apart in which a login fails, and what other
   * calls throw where the API refuses. A call while another one's pop-up is open ends that one (`superseded`)
   * and begins anew, so that nobody is stuck behind a window that they cannot see.
   *
   * The page that calls may have no Cross-Origin-Opener-Policy but `unsafe-none` or
   * `same-origin-allow-popups`: any other cuts the pop-up off, which reads as `closed`.
   */
  initiateOAuthFlow(options: FlowOptions & { exchange: true }): Promise<ExchangedCode>;
  initiateOAuthFlow(options?: FlowOptions & { exchange?: false }): Promise<FacebookLogin>;
  initiateOAuthFlow(options?: FlowOptions): Promise<FacebookLogin | ExchangedCode>;

  /** Where to send the browser to, for a login without a pop-up: the whole page goes there and comes back. */
  getAuthUrl(login?: LoginOptions, options?: RequestOptions): Promise<AuthURL>;
  /**
   * Exchanges the code of a login, and connects the pages and accounts that nobody else has connected. The
   * state is that of the login which brought the code. The service remembers it, in memory alone: where the
   * page was loaded anew, or another page began, give the state that came back beside the code.
   */
  exchangeCode(
    code: string,
    redirectUri: string,
    state?: string,
    options?: RequestOptions,
  ): Promise<ExchangedCode>;
  /**
   * Has Meta tell of a page's messages, whatever else it tells already, and takes the page over from another
   * tenant. By the token that is stored, where none is given; `fields` come to `messages` and
   * `messaging_postbacks`.
   */
  subscribeWebhook(
    pageId: string,
    pageAccessToken?: string,
    fields?: readonly string[],
    options?: RequestOptions,
  ): Promise<SubscribedWebhook>;
  /** Has Meta tell of a page no more. */
  unsubscribeWebhook(pageId: string, options?: RequestOptions): Promise<UnsubscribedWebhook>;
  /** Pages and Instagram accounts, newest first, and by whose permission they are connected. */
  listConnections(page?: Input<"list_connections">, options?: RequestOptions): Promise<GrantedConnections>;
  /** Renews the token of a grant, or of that by which a connection was connected. */
  refresh(of: Input<"refresh">, options?: RequestOptions): Promise<RefreshedGrant>;
  /** Ends a connection, or a grant with all that was connected by it, at Meta too. */
  disconnect(what: Input<"disconnect">, options?: RequestOptions): Promise<Disconnected>;
}

const callbackPath = "/integracoes/facebook/callback";
const defaultFlowMs = 300_000;
const askingMetaMs = 50_000; // as long as the API may take
const denialMs = 5_000;
const rememberedLogins = 20;

export function facebookOAuth(api: Api): FacebookOAuth {
  /** The states of logins, by their codes: the newest last. */
  const states = new Map<string, string>();
  /** The login whose pop-up is open. */
  let current: Popup | undefined;

  function act<Name extends keyof Results>(
    action: Action<Name>,
    options?: RequestOptions,
    atLeastMs = askingMetaMs,
  ): Promise<Results[Name]> {
    const path = api.config().facebookOAuthPath ?? "/api/oauth/facebook";
    const body: FacebookOAuthAction = action;
    return api.call(
      // What is answered follows from the action, which the contract does not say in types.
      (http, init) =>
        http.POST(path, { body, ...init }) as Promise<{ data?: Results[Name]; response: Response }>,
      options,
      atLeastMs,
    );
  }

  function remember(code: string, state: string): void {
    states.delete(code);
    states.set(code, state);
    for (const oldest of states.keys()) {
      if (states.size <= rememberedLogins) {
        return;
      }
      states.delete(oldest);
    }
  }

  const getAuthUrl = ({ redirectUri, scopes, authType }: LoginOptions, options?: RequestOptions) =>
    act<"get_auth_url">(
      {
        action: "get_auth_url",
        redirectUri: redirectUri ?? defaultRedirect(api.config().baseUrl),
        scopes: scopes && [...scopes],
        authType,
      },
      options,
      0,
    );

  const exchange = ({ code, redirectUri, state }: FacebookLogin, options?: RequestOptions) =>
    act<"exchange_code">({ action: "exchange_code", code, redirectUri, state }, options);

  /** Tells the API why there is no code, which uses the state up, and says what to throw. */
  async function refused(
    refusal: MetaRefusal,
    redirectUri: string,
    state: string,
  ): Promise<FacebookOAuthError> {
    const cause = await act<"exchange_code">(
      { action: "exchange_code", redirectUri, state, ...refusal },
      { timeoutMs: denialMs },
    ).catch((problem: unknown) => problem);
    const { error, errorCode, errorReason, errorDescription } = refusal;
    const said = errorDescription ?? errorReason ?? errorCode ?? error ?? "no reason";
    return error === "access_denied" || errorReason === "user_denied"
      ? new FacebookOAuthError("denied", `the login was not allowed: ${said}`, { refusal, cause })
      : new FacebookOAuthError("failed", `Facebook could not do it: ${said}`, { refusal, cause });
  }

  async function login(options: FlowOptions): Promise<FacebookLogin> {
    const redirectUri = options.redirectUri ?? defaultRedirect(api.config().baseUrl);
    current?.end(new FacebookOAuthError("superseded", "another login was begun"));
    const popup = openPopup({
      origin: new URL(redirectUri).origin,
      timeoutMs: options.timeoutMs ?? defaultFlowMs,
      signal: options.signal,
    });
    current = popup;
    try {
      const { authUrl, state } = await popup.during((signal) =>
        getAuthUrl({ ...options, redirectUri }, { signal }),
      );
      const answer = await popup.visit(authUrl, state);
      popup.close();
      if ("refusal" in answer) {
        throw await refused(answer.refusal, redirectUri, state);
      }
      remember(answer.code, state);
      return { code: answer.code, state, redirectUri };
    } finally {
      popup.close();
      if (current === popup) {
        current = undefined;
      }
    }
  }

  async function flow(options: FlowOptions & { exchange: true }): Promise<ExchangedCode>;
  async function flow(options?: FlowOptions & { exchange?: false }): Promise<FacebookLogin>;
  async function flow(options?: FlowOptions): Promise<FacebookLogin | ExchangedCode>;
  async function flow(options: FlowOptions = {}): Promise<FacebookLogin | ExchangedCode> {
    const done = await login(options); // nothing is awaited before its pop-up
    if (!options.exchange) {
      return done;
    }
    const { signal } = options;
    try {
      return await exchange(done, { signal });
    } catch (error) {
      throw signal?.aborted ? aborted(signal) : error;
    }
  }

  return {
    initiateOAuthFlow: flow,
    getAuthUrl: (login = {}, options) => getAuthUrl(login, options),
    exchangeCode: async (code, redirectUri, state = states.get(code), options) => {
      if (state === undefined) {
        throw new FacebookOAuthError("failed", "no login of this page brought the code: its state is needed");
      }
      return exchange({ code, redirectUri, state }, options);
    },
    subscribeWebhook: (pageId, pageAccessToken, fields, options) =>
      act<"subscribe_webhook">(
        { action: "subscribe_webhook", pageId, pageAccessToken, fields: fields && [...fields] },
        options,
      ),
    unsubscribeWebhook: (pageId, options) =>
      act<"unsubscribe_webhook">({ action: "unsubscribe_webhook", pageId }, options),
    listConnections: (page, options) =>
      act<"list_connections">({ action: "list_connections", ...page }, options, 0),
    refresh: (of, options) => act<"refresh">({ action: "refresh", ...of }, options),
    disconnect: (what, options) => act<"disconnect">({ action: "disconnect", ...what }, options),
  };
}

/** Of the installation, or of the page itself where that is the same. */
function defaultRedirect(baseUrl: string): string {
  return (baseUrl === "" ? location.origin : baseUrl.replace(/\/+$/, "")) + callbackPath;
}

/** Logins, of the installation that `configure` named. */
export const facebookOAuthService: FacebookOAuth = /* @__PURE__ */ facebookOAuth(
  /* @__PURE__ */ new Api(configured),
);
