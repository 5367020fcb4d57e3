import createFetcher, { type Client as Fetcher } from "openapi-fetch";
import type { ClientConfig, RequestOptions } from "./config.js";
import type { paths } from "./openapi.gen.js";
import { ConnectionError, problemOf, TimeoutError } from "./problem.js";

const defaultTimeoutMs = 30_000;

/** What a request needs beside its own parameters. */
interface Init {
  headers: Record<string, string>;
  signal: AbortSignal;
}

interface Answer<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** Makes requests that the contract describes. */
export class Api {
  /** Where the API is, as it is now. */
  readonly config: () => ClientConfig;

  constructor(config: () => ClientConfig) {
    this.config = config;
  }

  /**
   * Makes one request. Throws a ProblemError where it was refused, a ConnectionError where there is no
   * answer, and the reason of the caller's signal.
   */
  async call<T>(
    request: (api: Fetcher<paths>, init: Init) => Promise<Answer<T>>,
    options: RequestOptions = {},
    atLeastMs = 0,
  ): Promise<T> {
    const config = this.config();
    const timeoutMs = options.timeoutMs ?? Math.max(config.timeoutMs ?? defaultTimeoutMs, atLeastMs);
    options.signal?.throwIfAborted();
    // By hand: AbortSignal.any and .timeout leave timers and listeners behind after the request.
    const controller = new AbortController();
    const abort = () => controller.abort(options.signal?.reason);
    options.signal?.addEventListener("abort", abort, { once: true });
    const timer = setTimeout(() => {
      controller.abort(new TimeoutError(`no answer from the API in ${timeoutMs} ms`));
    }, timeoutMs);
    try {
      const headers = await before(controller.signal, authorization(config));
      const api = createFetcher<paths>({ baseUrl: config.baseUrl, fetch: config.fetch });
      const { data, error, response } = await answered(
        request(api, { headers, signal: controller.signal }),
        controller.signal,
      );
      if (!response.ok) {
        throw problemOf(response, error);
      }
      return data as T; // undefined where the contract has no content
    } finally {
      clearTimeout(timer);
      options.signal?.removeEventListener("abort", abort);
    }
  }
}

async function authorization(config: ClientConfig): Promise<Record<string, string>> {
  const token = typeof config.token === "function" ? await config.token() : config.token;
  return {
    Authorization: `Bearer ${token}`,
    ...(config.tenantId === undefined ? {} : { "X-Tenant-Id": config.tenantId }),
  };
}

/** The promise's value, unless the signal comes first. */
export function before<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    if (signal.aborted) {
      abort();
    }
  });
}

async function answered<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  try {
    return await answer;
  } catch (cause) {
    signal.throwIfAborted(); // by the caller or for lack of time: what fetch throws then says less
    throw new ConnectionError("no answer from the API", { cause });
  }
}
