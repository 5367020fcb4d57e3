import { Api, before } from "./api.js";
import { configured, type RequestOptions } from "./config.js";
import type { components } from "./openapi.gen.js";
import { ConnectionError, ProblemError } from "./problem.js";
import type { EventAccepted, EventDetail, EventPage, EventType, Query } from "./types.js";

type Schemas = components["schemas"];

/** An event to publish. */
export interface EventInput extends Omit<Schemas["EventInput"], "data" | "timestamp"> {
  /** At most 256 KiB; integers beyond ±(2^53−1) must be strings. */
  data: object;
  /** When it happened. Default: now. */
  timestamp?: string | Date | null;
}

export interface PublishOptions extends RequestOptions {
  /**
   * Names the request for 24 hours: repeated with the same events it publishes nothing twice. Default: a
   * random one, which serves this call alone. Give your own to call again after a ConnectionError.
   */
  idempotencyKey?: string;
  /** How long the request is repeated while the API is away or busy. Default: 60 000; 0 is a single try. */
  retryForMs?: number;
  /** `false` takes data that the event type's schema refuses. */
  strict?: boolean;
  /** The W3C trace context that the deliveries continue. */
  traceparent?: string;
}

/** What became of one event of an array. */
export type PublishResult = { accepted: true; id: string } | { accepted: false; error: ProblemError };

/** What happened. */
export interface Events {
  /**
   * Publishes an event and returns its id once it is stored. While the API is away, or asks for patience
   * (429, 503), the same request is made again under its Idempotency-Key, so nothing is published twice.
   */
  publish(event: EventInput, options?: PublishOptions): Promise<EventAccepted>;
  /**
   * Publishes up to 500 events, 1 MiB in all, and says of each, in their order, what became of it. Throws
   * only where the request as a whole has failed.
   */
  publish(events: readonly EventInput[], options?: PublishOptions): Promise<PublishResult[]>;
  /** Events that were handed to the webhooks, newest first. */
  list(query?: Query<"listEvents">, options?: RequestOptions): Promise<EventPage>;
  /** An event with its body and its deliveries. */
  get(id: string, options?: RequestOptions): Promise<EventDetail>;
  /** The catalog of event types. */
  types(options?: RequestOptions): Promise<EventType[]>;
}

/** Waits between the tries double from the first to the last. */
const firstWaitMs = 100;
const lastWaitMs = 10_000;
const defaultRetryMs = 60_000;

export function events(api: Api): Events {
  function publish(event: EventInput, options?: PublishOptions): Promise<EventAccepted>;
  function publish(events: readonly EventInput[], options?: PublishOptions): Promise<PublishResult[]>;
  function publish(input: EventInput | readonly EventInput[], options: PublishOptions = {}) {
    return isArray(input) ? publishAll(api, input, options) : publishOne(api, input, options);
  }
  return {
    publish,
    list: (query, options) =>
      api.call((http, init) => http.GET("/api/events", { params: { query }, ...init }), options),
    get: (id, options) =>
      api.call((http, init) => http.GET("/api/events/{id}", { params: { path: { id } }, ...init }), options),
    types: async (options) =>
      (await api.call((http, init) => http.GET("/api/event-types", { ...init }), options)).data,
  };
}

function isArray(input: EventInput | readonly EventInput[]): input is readonly EventInput[] {
  return Array.isArray(input);
}

async function publishOne(api: Api, event: EventInput, options: PublishOptions): Promise<EventAccepted> {
  const post = request(api, event, options);
  let accepted: EventAccepted | undefined;
  const undecided = await repeat(options, async () => {
    const answer = await post();
    if (!("id" in answer)) {
      return new ConnectionError("the answer is none to one event");
    }
    accepted = answer;
    return undefined;
  });
  if (accepted === undefined) {
    throw undecided;
  }
  return accepted;
}

async function publishAll(
  api: Api,
  events: readonly EventInput[],
  options: PublishOptions,
): Promise<PublishResult[]> {
  if (events.length === 0) {
    return [];
  }
  const post = request(api, events, options);
  const decided: (PublishResult | undefined)[] = events.map(() => undefined);
  const open: (ProblemError | undefined)[] = events.map(() => undefined); // why those that are not
  const undecided = await repeat(options, async () => {
    const answer = await post();
    if (!("data" in answer) || answer.data.length !== events.length) {
      return new ConnectionError("the answer is none to these events");
    }
    answer.data.forEach((result, i) => {
      if (result.id !== undefined) {
        decided[i] = { accepted: true, id: result.id }; // for good, whatever a later answer says
        return;
      }
      const problem = result.error ?? { type: "about:blank", title: "Refused", status: result.status };
      const error = new ProblemError(problem);
      open[i] = error;
      if (!temporary(error)) {
        decided[i] ??= { accepted: false, error };
      }
    });
    return open.find((_, i) => decided[i] === undefined);
  });
  return decided.map((result, i) => {
    const error = open[i];
    if (result !== undefined) {
      return result;
    }
    if (error === undefined) {
      throw undecided; // there was no answer to any of them
    }
    return { accepted: false, error };
  });
}

/** The request that publishes the input: each call sends the same bytes under the same key. */
function request(api: Api, input: EventInput | readonly EventInput[], options: PublishOptions) {
  const text = JSON.stringify(input);
  const header = {
    "Idempotency-Key": options.idempotencyKey ?? randomKey(),
    traceparent: options.traceparent,
  };
  const query = options.strict === undefined ? undefined : { strict: options.strict };
  return () =>
    api.call(
      (http, init) =>
        http.POST("/api/events", {
          params: { header, query },
          body: input as Schemas["EventInput"],
          bodySerializer: () => text,
          ...init,
        }),
      options,
    );
}

/** In hexadecimal, since crypto.randomUUID is missing where a page came by plain HTTP. */
function randomKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) =>
    byte.toString(16).padStart(2, "0"),
  ).join("");
}

/** Why a request has to be made again. */
type Undecided = ProblemError | ConnectionError;

/**
 * Makes attempts until one returns nothing, and then does so too. What may pass, returned or thrown, leads to
 * another one, until there is no time left for it: that is returned. Other errors are thrown.
 */
async function repeat(
  options: PublishOptions,
  attempt: () => Promise<Undecided | undefined>,
): Promise<Undecided | undefined> {
  const deadline = Date.now() + (options.retryForMs ?? defaultRetryMs);
  for (let n = 0; ; n++) {
    const reason = await attempt().catch((error: unknown) => {
      if (temporary(error)) {
        return error;
      }
      throw error;
    });
    if (reason === undefined) {
      return undefined;
    }
    const wait = pause(n, reason);
    if (Date.now() + wait > deadline) {
      return reason;
    }
    await sleep(wait, options.signal);
  }
}

/** Errors after which the same request may succeed: the API, or a proxy before it, is busy or away. */
function temporary(error: unknown): error is Undecided {
  return (
    error instanceof ConnectionError ||
    (error instanceof ProblemError && [408, 429, 500, 502, 503, 504].includes(error.status))
  );
}

/** Doubled each time, half of it by chance so that clients do not come back all at once, and never less than asked for. */
function pause(n: number, reason: Undecided): number {
  const full = Math.min(firstWaitMs * 2 ** n, lastWaitMs);
  const asked = reason instanceof ProblemError ? (reason.retryAfter ?? 0) * 1000 : 0;
  return Math.max(asked, full / 2 + (Math.random() * full) / 2);
}

async function sleep(ms: number, signal = new AbortController().signal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    await before(
      signal,
      new Promise<void>((resolve) => {
        timer = setTimeout(resolve, ms);
      }),
    );
  } finally {
    clearTimeout(timer);
  }
}

/** Events, of the installation that `configure` named. */
export const eventsService: Events = /* @__PURE__ */ events(/* @__PURE__ */ new Api(configured));

/** Publishes an event, or up to 500, to the installation that `configure` named. */
export const publish: Events["publish"] = eventsService.publish;
