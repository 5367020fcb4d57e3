import { createClient, type EventInput } from "@primezap/client";

const { events } = createClient({
  baseUrl: process.env.PRIMEZAP_URL ?? "http://127.0.0.1:8080",
  token: process.env.PRIMEZAP_TOKEN ?? "",
});

/** Publishes up to 500 events and returns those that were refused, with the reason. */
export async function publishAll(batch: EventInput[], signal?: AbortSignal) {
  const results = await events.publish(batch, { signal, retryForMs: 20_000 });
  return results.flatMap((result, i) => (result.accepted ? [] : [{ event: batch[i], error: result.error }]));
}
