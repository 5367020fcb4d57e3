// The window in which somebody logs in to Facebook, and how a login in it can end.
import { before } from "./api.js";

/**
 * How a login failed:
 *
 * - `blocked`: the browser opened no pop-up, as it was asked to outside of a click, or forbids all
 * - `closed`: the user closed the pop-up, or a Cross-Origin-Opener-Policy cut it off
 * - `denied`: the user did not allow it
 * - `timed_out`: the user took too long
 * - `aborted`: by the caller's signal, whose reason is the `cause`
 * - `superseded`: another login was begun
 * - `failed`: Facebook says that something else went wrong, or there is no login to go on with
 */
export type FacebookOAuthReason =
  | "blocked"
  | "closed"
  | "denied"
  | "timed_out"
  | "aborted"
  | "superseded"
  | "failed";

/** Why there is no code, in the words of Facebook's dialog. */
export interface MetaRefusal {
  /** Such as `access_denied`. */
  error?: string;
  errorCode?: string;
  /** Such as `user_denied`. */
  errorReason?: string;
  errorDescription?: string;
}

/** A login has failed. Where the API was told of it, its ProblemError is the `cause`. */
export class FacebookOAuthError extends Error {
  override readonly name = "FacebookOAuthError";
  readonly reason: FacebookOAuthReason;
  /** What Facebook said, where it was Facebook. */
  readonly refusal: Readonly<MetaRefusal> | undefined;

  constructor(
    reason: FacebookOAuthReason,
    message: string,
    { refusal, ...options }: { refusal?: MetaRefusal; cause?: unknown } = {},
  ) {
    super(message, options);
    this.reason = reason;
    this.refusal = refusal;
  }
}

/** The error of a call that the signal broke off. */
export function aborted(signal: AbortSignal): FacebookOAuthError {
  return new FacebookOAuthError("aborted", "the login was broken off", { cause: signal.reason });
}

/** What the callback page hands over. */
export type Callback = { code: string; state: string } | { refusal: MetaRefusal; state: string };

export interface Popup {
  /** Has the work end with the login. */
  during<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T>;
  /** Sends the window to the dialog, and waits for what the callback page says of this state. */
  visit(authUrl: string, state: string): Promise<Callback>;
  /** Has the login fail, unless it has ended. */
  end(error: FacebookOAuthError): void;
  /** Closes the window, and leaves nothing behind. */
  close(): void;
}

export interface PopupOptions {
  /** Of the callback page. */
  origin: string;
  timeoutMs: number;
  signal?: AbortSignal;
}

const messageType = "primezap:facebook-oauth";
const pollMs = 500;
// `closed` may read true before what the page said last has arrived.
const closedPolls = 3;
const longestTimerMs = 2 ** 31 - 1;

/** Opens the window at once, as browsers want it of a click, with a word of patience in it. */
export function openPopup({ origin, timeoutMs, signal }: PopupOptions): Popup {
  if (typeof window === "undefined") {
    throw new Error("@primezap/client: a pop-up needs a browser; getAuthUrl does not");
  }
  if (signal?.aborted) {
    throw aborted(signal);
  }
  const popup = window.open("about:blank", "_blank", features());
  if (popup === null || popup.closed) {
    throw new FacebookOAuthError("blocked", "the browser has blocked the pop-up");
  }
  askForPatience(popup.document);

  const ended = new AbortController(); // its reason is what the login throws
  const end = (error: FacebookOAuthError) => {
    ended.abort(error);
    close();
  };
  const abort = () => end(aborted(signal as AbortSignal));
  signal?.addEventListener("abort", abort, { once: true });
  const timer = setTimeout(
    () => end(new FacebookOAuthError("timed_out", `nobody has logged in within ${timeoutMs} ms`)),
    Math.min(timeoutMs, longestTimerMs),
  );
  let polls = 0;
  const poll = setInterval(() => {
    polls = popup.closed ? polls + 1 : 0;
    if (polls === closedPolls) {
      end(new FacebookOAuthError("closed", "the pop-up was closed before the login had ended"));
    }
  }, pollMs);
  let listener: ((event: MessageEvent) => void) | undefined;
  const listen = (event: MessageEvent) => listener?.(event);
  window.addEventListener("message", listen);

  function close(): void {
    window.removeEventListener("message", listen);
    signal?.removeEventListener("abort", abort);
    clearTimeout(timer);
    clearInterval(poll);
    popup?.close();
  }

  return {
    during: (work) => before(ended.signal, work(ended.signal)),
    visit: (authUrl, state) => {
      const answer = new Promise<Callback>((resolve) => {
        listener = ({ source, origin: from, data }) => {
          const said = source === popup && from === origin ? callbackOf(data, state) : undefined;
          if (said !== undefined) {
            popup.postMessage({ type: `${messageType}:ack` }, origin);
            resolve(said);
          }
        };
      });
      popup.location.replace(authUrl);
      return before(ended.signal, answer);
    },
    end,
    close,
  };
}

/** In the middle of the window that asks, and no larger than the screen. */
function features(): string {
  const width = Math.min(600, screen.availWidth);
  const height = Math.min(760, screen.availHeight);
  const left = Math.round(window.screenX + (window.outerWidth - width) / 2);
  const top = Math.round(window.screenY + (window.outerHeight - height) / 2);
  return `popup,width=${width},height=${height},left=${left},top=${top}`;
}

function askForPatience(page: Document): void {
  const portuguese = navigator.language.startsWith("pt");
  page.documentElement.lang = portuguese ? "pt-BR" : "en";
  page.title = "Facebook";
  page.body.textContent = portuguese ? "Abrindo o Facebook…" : "Opening Facebook…";
  page.body.style.cssText = "font: 1rem system-ui, sans-serif; margin: 3rem 1.5rem; text-align: center";
}

const refusals = ["error", "errorCode", "errorReason", "errorDescription"] as const;

/** What a callback page says of this state; nothing else that windows tell each other. */
function callbackOf(data: unknown, state: string): Callback | undefined {
  if (typeof data !== "object" || data === null) {
    return undefined;
  }
  const said = data as Record<string, unknown>;
  if (said.type !== messageType || said.state !== state) {
    return undefined;
  }
  if (typeof said.code === "string") {
    return { code: said.code, state };
  }
  const refusal: MetaRefusal = {};
  for (const name of refusals) {
    const text = said[name];
    if (typeof text === "string") {
      refusal[name] = text;
    }
  }
  return { refusal, state };
}
