// The client against a running installation.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  type Client,
  ConnectionError,
  configure,
  connectionsService,
  contactsService,
  conversationsService,
  createClient,
  customWebhooksService,
  type EventInput,
  ProblemError,
  type PublishResult,
  publish,
  type RateLimitState,
  TimeoutError,
  verifyStandardWebhook,
  verifyWebhook,
} from "@primezap/client";
import { type Fate, type Gateway, startGateway } from "./gateway.js";
import { type Receiver, startReceiver } from "./receiver.js";
import { type Standalone, startStandalone } from "./standalone.js";

let installation: Standalone;
let receiver: Receiver;
let gateway: Gateway;
let client: Client;
let deal: EventInput; // an event as the catalog has it

before(async () => {
  installation = await startStandalone();
  receiver = await startReceiver();
  gateway = await startGateway(installation.url);
  configure({ baseUrl: installation.url, token: installation.apiKey });
  client = createClient({ baseUrl: installation.url, token: async () => installation.apiKey });
  deal = await example("deal.moved");
});

after(async () => {
  gateway.stop();
  receiver.stop();
  await installation.stop();
});

const secret = "correct horse battery staple";

/** Checks that the promise fails with a problem, and returns it. */
async function problem(promise: Promise<unknown>): Promise<ProblemError> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.ok(error instanceof ProblemError, `${error}`);
  return error;
}

/** The catalog's example of an event type. */
async function example(type: string): Promise<EventInput> {
  const definition = (await client.events.types()).find(({ name }) => name === type);
  const { event, data } = (definition?.example as EventInput | undefined) ?? assert.fail(`no type ${type}`);
  return { event, data };
}

/** Repeats the check until it holds: what a worker does takes a moment. */
async function eventually<T>(check: () => Promise<T | undefined | false>): Promise<T> {
  for (const deadline = Date.now() + 30_000; ; ) {
    const value = await check();
    if (value) {
      return value;
    }
    assert.ok(Date.now() < deadline, "still not after 30 s");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

describe("a front end's calls", () => {
  test("create, deliver, verify, read logs and statistics", async () => {
    const created = await customWebhooksService.create({
      name: "my CRM",
      url: receiver.url,
      events: ["deal.moved"],
      secret,
    });
    assert.equal(created.secret, secret);
    assert.equal(created.active, true);

    const n = receiver.deliveries.length;
    receiver.answer(500, 204);
    const { id } = await publish(deal);
    const [first, second] = [await receiver.delivery(n + 1), await receiver.delivery(n + 2)];
    for (const { body, headers } of [first, second]) {
      assert.equal(await verifyWebhook(body, headers["x-webhook-signature"] as string, secret), true);
      assert.equal(
        await verifyWebhook(
          JSON.stringify(JSON.parse(body.toString())),
          headers["x-webhook-signature"] as string,
          secret,
        ),
        true,
      );
      const event = await verifyStandardWebhook(body, headers, secret);
      assert.equal(event.id, id);
      assert.equal(event.event, "deal.moved");
      assert.deepEqual(event.data, deal.data);
    }

    await eventually(async () => (await customWebhooksService.getLogs(created.id)).data.length === 2);
    const failed = await customWebhooksService.getLogs(created.id, { page: 1, limit: 50, success: false });
    assert.equal(failed.pagination.total, 1);
    assert.deepEqual([failed.pagination.page, failed.pagination.limit], [1, 50]);
    assert.equal(failed.data[0]?.status, 500);
    assert.equal(failed.data[0]?.responseBody, "no");
    assert.equal(failed.data[0]?.eventId, id);

    const stats = await customWebhooksService.getStats(created.id);
    assert.deepEqual([stats.stats.totalCalls, stats.stats.failedCalls], [2, 1]);
    assert.equal(stats.stats.successfulCalls / stats.stats.totalCalls, 0.5);
    assert.deepEqual(stats.stats.byEvent, [{ event: "deal.moved", total: 2, successful: 1, failed: 1 }]);
  });

  test("list, read, change, replace and delete", async () => {
    const { id } = await customWebhooksService.create({
      name: "first",
      url: receiver.url,
      events: ["deal.*"],
      headers: { "X-Api-Token": "s3cret" },
    });
    const page = await customWebhooksService.list({ active: true, event: "deal.*", limit: 1 });
    assert.equal(page.data[0]?.id, id);
    assert.equal((await customWebhooksService.get(id)).headers["X-Api-Token"], "••••");

    const changed = await customWebhooksService.update(id, { name: "second", active: false });
    assert.deepEqual([changed.name, changed.active, changed.events], ["second", false, ["deal.*"]]);
    assert.equal((await customWebhooksService.enable(id)).active, true);
    const replaced = await customWebhooksService.replace(id, {
      name: "third",
      url: receiver.url,
      events: ["*"],
    });
    assert.deepEqual([replaced.name, replaced.events, replaced.headers], ["third", ["*"], {}]);

    assert.equal(await customWebhooksService.delete(id), undefined);
    assert.equal((await problem(customWebhooksService.get(id))).status, 404);
  });

  test("a test call, and a new secret", async () => {
    const hook = await client.customWebhooks.create({
      name: "test",
      url: receiver.url,
      events: ["deal.moved"],
    });
    receiver.answer(204);
    const n = receiver.deliveries.length;
    const result = await client.customWebhooks.test(hook.id, { event: "contact.created" });
    assert.deepEqual([result.success, result.status, result.error], [true, 204, null]);
    const { headers } = await receiver.delivery(n + 1);
    assert.equal(headers["x-webhook-event"], "contact.created");
    assert.equal((await client.customWebhooks.test(hook.id)).success, true);

    const { secret: renewed } = await client.customWebhooks.regenerateSecret(hook.id, {
      gracePeriodSeconds: 60,
    });
    assert.notEqual(renewed, hook.secret);
    const before = receiver.deliveries.length;
    await client.customWebhooks.test(hook.id);
    const inGrace = await receiver.delivery(before + 1);
    for (const each of [hook.secret, renewed]) {
      assert.equal((await verifyStandardWebhook(inGrace.body, inGrace.headers, each)).event, "deal.moved");
    }
    assert.equal((await client.customWebhooks.regenerateSecret(hook.id)).id, hook.id);
    await client.customWebhooks.delete(hook.id);
  });

  test("the queue: retry and cancel, one and all", async () => {
    const hook = await client.customWebhooks.create({
      name: "queue",
      url: receiver.url,
      events: ["contact.*"],
      retry: { delaysSeconds: [] },
    });
    const contact = await example("contact.created");
    receiver.answer(500);
    const ids = await client.events.publish(Array.from({ length: 3 }, () => contact));
    assert.ok(ids.every(({ accepted }) => accepted));
    const exhausted = await eventually(async () => {
      const { data } = await client.customWebhooks.listQueue(hook.id, { state: "exhausted" });
      return data.length === 3 && data;
    });
    const [first, second] = exhausted.map(({ id }) => id) as [string, string, string];

    assert.equal(await client.customWebhooks.cancelDelivery(hook.id, first), undefined);
    receiver.answer(204);
    const n = receiver.deliveries.length;
    assert.equal(await client.customWebhooks.retryDelivery(hook.id, second), undefined);
    await receiver.delivery(n + 1);
    assert.ok((await client.customWebhooks.retryExhausted(hook.id)).complete);
    await eventually(async () => (await client.customWebhooks.listQueue(hook.id)).data.length === 0);
    assert.deepEqual(await client.customWebhooks.cancelAll(hook.id, { state: "exhausted" }), {
      count: 0,
      complete: true,
    });
    assert.equal((await problem(client.customWebhooks.retryDelivery(hook.id, first))).status, 404);
    await client.customWebhooks.delete(hook.id);
  });

  test("a filter, tried first", async () => {
    const filter = { "stage.name": { $eq: "won" } };
    const preview = await client.customWebhooks.previewFilter({ filter, data: { stage: { name: "won" } } });
    assert.equal(preview.matches, true);
    const fault = await problem(
      client.customWebhooks.previewFilter({ filter: { stage: { $no: 1 } }, event: "deal.moved" }),
    );
    assert.equal(fault.status, 422);
  });

  test("stored events", async () => {
    const { id } = await client.events.publish(deal);
    const detail = await eventually(() => client.events.get(id).catch(() => undefined));
    assert.equal(detail.event, "deal.moved");
    assert.ok(
      (await client.events.list({ event: "deal.moved", limit: 100 })).data.some((each) => each.id === id),
    );
  });

  test("a replay of stored events", async () => {
    const { id } = await client.events.publish(deal);
    const { createdAt } = await eventually(() => client.events.get(id).catch(() => undefined));
    const late = await client.customWebhooks.create({
      name: "late",
      url: receiver.url,
      events: ["deal.moved"],
    });
    const replay = await client.customWebhooks.replay(late.id, { since: createdAt, status: "all" });
    assert.equal(replay.webhookId, late.id);
    const done = await eventually(async () => {
      const now = await client.customWebhooks.getReplay(replay.id);
      return now.state === "completed" && now;
    });
    assert.ok(done.inserted >= 1);
    await eventually(async () =>
      (await client.customWebhooks.getLogs(late.id, { eventId: id })).data.some(
        ({ kind }) => kind === "replay",
      ),
    );
    const another = await client.customWebhooks.replay(late.id, { since: createdAt });
    const end = await client.customWebhooks.cancelReplay(another.id).catch((error: unknown) => error);
    assert.ok(end === undefined || (end instanceof ProblemError && end.status === 409), `${end}`); // it was quicker
    assert.equal((await problem(client.customWebhooks.cancelReplay(replay.id))).status, 409);
    assert.equal(
      (await problem(client.customWebhooks.cancelReplay("0199ffa0-1c00-7100-8a00-3f2b6d1e9c00"))).status,
      404,
    );
    await client.customWebhooks.delete(late.id);
  });
});

describe("channels", () => {
  // The number that the simulated Meta has, and its token.
  const number = {
    channel: "whatsapp",
    name: "Shop",
    externalId: "800000000000001",
    credentials: { accessToken: "EAASIMULATEDNUMBER" },
  } as const;

  /** A person writes to the number. */
  async function write(text: string): Promise<string> {
    const answer = await fetch(`${installation.metaSimulator}/simulate/message`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ channel: "whatsapp", from: "+5511900000001", name: "Ana", text }),
    });
    const { ids, webhook } = (await answer.json()) as { ids: string[]; webhook: { status: number } };
    assert.equal(webhook.status, 200);
    return ids[0] ?? assert.fail("no message");
  }

  test("a number is connected, listed, changed and disconnected", async () => {
    const wrong = { ...number, credentials: { accessToken: "EAAOTHER" } };
    const refusal = await problem(connectionsService.create(wrong));
    assert.deepEqual([refusal.status, refusal.errors[0]?.pointer], [422, "/credentials/accessToken"]);

    const made = await connectionsService.create(number);
    assert.equal(made.status, "active");
    assert.match(made.accountName ?? "", /^\+55/);
    assert.ok(!JSON.stringify(made).includes(number.credentials.accessToken));
    assert.equal((await problem(connectionsService.create(wrong, { verify: false }))).status, 409);
    const page = await connectionsService.list({ channel: "whatsapp", limit: 100 });
    assert.ok(page.data.some(({ id }) => id === made.id));

    const { credentials } = wrong;
    assert.equal((await problem(connectionsService.update(made.id, { credentials }))).status, 422);
    const changes = { name: "Store", status: "paused", credentials } as const;
    const changed = await connectionsService.update(made.id, changes, { verify: false });
    assert.deepEqual([changed.name, changed.status], ["Store", "paused"]);
    assert.deepEqual(await connectionsService.get(made.id), changed);

    assert.equal(await connectionsService.delete(made.id), undefined);
    assert.equal((await problem(connectionsService.get(made.id))).status, 404);
  });

  test("limits are read, set and begun anew", async () => {
    const { id } = await client.connections.create({ ...number, limits: { per_day: 100 } });
    const most = ({ windows }: RateLimitState) =>
      windows.map(({ windowType, maxRequests }) => `${windowType} ${maxRequests}`);
    assert.deepEqual(most(await client.connections.getRateLimit(id)), [
      "per_minute 60",
      "per_hour 1000",
      "per_day 100",
    ]);
    assert.deepEqual(most(await client.connections.setRateLimit(id, { per_minute: 5 })), [
      "per_minute 5",
      "per_hour 1000",
      "per_day 10000",
    ]);
    for (const state of [
      await client.connections.resetRateLimit(id, { windowType: "per_minute" }),
      await client.connections.resetRateLimit(id),
    ]) {
      assert.equal(state.connectionId, id);
      assert.ok(
        state.windows.every(({ used, maxRequests, remaining }) => used === 0 && remaining === maxRequests),
      );
    }
    await client.connections.delete(id);
  });

  test("a message makes a contact and a conversation", async () => {
    const { id: connectionId } = await client.connections.create(number);
    const externalId = await write("Hello");
    const { data } = await conversationsService.list({ connectionId, status: "open" });
    const [conversation] = data;
    assert.ok(conversation !== undefined && data.length === 1);
    const { data: messages } = await conversationsService.listMessages(conversation.id, { limit: 10 });
    assert.equal(messages.length, 1);
    assert.deepEqual(
      [messages[0]?.externalId, messages[0]?.text, messages[0]?.type, messages[0]?.status],
      [externalId, "Hello", "text", "received"],
    );

    const contact = await contactsService.get(conversation.contactId);
    assert.deepEqual([contact.name, contact.phone], ["Ana", "+5511900000001"]);
    const found = await contactsService.list({ phone: "+5511900000001" });
    assert.deepEqual([found.data.length, found.data[0]?.id], [1, contact.id]);
    const changes = { name: "Ana Lima", tags: ["customer"], customFields: { since: 2026 } };
    const { name, tags, customFields } = await contactsService.update(contact.id, changes);
    assert.deepEqual({ name, tags, customFields }, changes);

    const assignee = { id: "0199f3c7-0adf-7389-a3a0-65cf0becd7b2", name: "Bia" };
    const held = await conversationsService.update(conversation.id, { status: "pending", assignee });
    assert.deepEqual([held.status, held.assignee], ["pending", assignee]);
    const closed = await conversationsService.close(conversation.id);
    assert.equal(closed.status, "closed");
    assert.notEqual(closed.closedAt, null);
    assert.equal((await conversationsService.reopen(conversation.id)).status, "open");
    assert.equal((await conversationsService.get(conversation.id)).closedAt, null);
    await client.connections.delete(connectionId);
  });
});

describe("access and privacy", () => {
  test("API keys are made, listed and revoked", async () => {
    const made = await client.apiKeys.create({ name: "for the test", scopes: ["events:write"] });
    const other = createClient({ baseUrl: installation.url, token: made.key });
    assert.ok((await other.events.publish(deal)).id);
    assert.equal((await problem(other.customWebhooks.list())).status, 403);
    assert.ok((await client.apiKeys.list({ limit: 100 })).data.some(({ id }) => id === made.id));
    assert.equal(await client.apiKeys.revoke(made.id), undefined);
  });

  test("the audit log tells who changed what", async () => {
    const hook = await client.customWebhooks.create({ name: "audited", url: receiver.url, events: ["*"] });
    const { data } = await client.auditLog.list({ subjectId: hook.id });
    assert.equal(data[0]?.action, "webhook.created");
    await client.customWebhooks.delete(hook.id);
  });

  test("a contact is erased", async () => {
    const contactId = "0199f3c7-0adf-7389-a3a0-65cf0becd7b1";
    const contact = await example("contact.created");
    Object.assign((contact.data as { contact: object }).contact, { id: contactId });
    const { id } = await client.events.publish(contact);
    await eventually(() => client.events.get(id).catch(() => undefined));
    const erasure = await client.erasures.create({ contactId });
    await eventually(async () => (await client.erasures.get(erasure.id)).bodies >= 1); // it ends later
    assert.equal((await problem(client.events.get(id))).status, 410);
  });

  test("the deletion of a tenant is the platform's", async () => {
    const unknown = "0199ffa0-1c00-7100-8a00-3f2b6d1e9c00";
    assert.equal((await problem(client.tenantDeletions.get(unknown))).status, 404);
    const begun = await client.tenantDeletions.create({ tenantId: unknown }).catch((error: unknown) => error);
    assert.ok(begun instanceof ProblemError || (begun as { tenantId: string }).tenantId === unknown);
  });
});

describe("a page of another origin", () => {
  const origin = "http://dashboard.test"; // one that the installation allows

  test("may send every header that the client sends", async () => {
    const sent: string[] = [];
    const recording = createClient({
      baseUrl: installation.url,
      token: installation.apiKey,
      tenantId: installation.tenantId,
      fetch: (request) => {
        sent.push(...request.headers.keys());
        return fetch(request);
      },
    });
    await recording.events.publish(deal, {
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    });
    const preflight = await fetch(`${installation.url}/api/events`, {
      method: "OPTIONS",
      headers: { Origin: origin, "Access-Control-Request-Method": "POST" },
    });
    const allowed = preflight.headers.get("Access-Control-Allow-Headers")?.toLowerCase().split(/, */);
    assert.ok(
      sent.includes("idempotency-key") && sent.includes("x-tenant-id") && sent.includes("traceparent"),
    );
    for (const name of sent) {
      assert.ok(allowed?.includes(name), `${name} is not allowed: ${allowed}`);
    }
  });

  test("may read when to come again", async () => {
    const answer = await fetch(`${installation.url}/api/event-types`, { headers: { Origin: origin } });
    assert.equal(answer.headers.get("Access-Control-Allow-Origin"), origin);
    assert.match(answer.headers.get("Access-Control-Expose-Headers") ?? "", /Retry-After/);
  });
});

describe("errors", () => {
  test("a refusal names the fields at fault and the request", async () => {
    const refusal = await problem(
      customWebhooksService.create({ name: "", url: "ftp://example.com/", events: ["deal.exploded"] }),
    );
    assert.equal(refusal.status, 422);
    assert.equal(refusal.type, "about:blank");
    assert.ok(refusal.title && refusal.requestId);
    assert.equal(refusal.instance, "/api/custom-webhooks");
    assert.deepEqual(refusal.errors.map(({ pointer }) => pointer).sort(), ["/events/0", "/name", "/url"]);
    assert.match(refusal.message, /^422 /);
  });

  test("an id cannot reach another path", async () => {
    assert.equal((await problem(customWebhooksService.get("../event-types"))).status, 404);
  });

  test("who is not known is told so", async () => {
    const stranger = createClient({ baseUrl: installation.url, token: "pz_nobodys" });
    assert.equal((await problem(stranger.customWebhooks.list())).status, 401);
  });

  test("what a gateway answers is an error too, with its Retry-After", async () => {
    const behind = createClient({ baseUrl: gateway.url, token: installation.apiKey });
    gateway.fates.push({ status: 502 }, { status: 429, retryAfter: "7" });
    const first = await problem(behind.customWebhooks.list());
    assert.deepEqual(
      [first.status, first.title, first.retryAfter, first.errors],
      [502, "Bad Gateway", undefined, []],
    );
    assert.equal((await problem(behind.customWebhooks.list())).retryAfter, 7);
  });

  test("a cut connection is one, its cause with it", async () => {
    const behind = createClient({ baseUrl: gateway.url, token: installation.apiKey });
    gateway.fates.push("cut");
    await assert.rejects(
      behind.customWebhooks.list(),
      (error) => error instanceof ConnectionError && error.cause !== undefined,
    );
  });

  test("a call ends in time, or when its caller wants", async () => {
    const behind = createClient({ baseUrl: gateway.url, token: installation.apiKey, timeoutMs: 100 });
    gateway.fates.push("hang", "hang", "hang");
    await assert.rejects(behind.customWebhooks.list(), TimeoutError);
    await assert.rejects(behind.customWebhooks.list({}, { timeoutMs: 50 }), TimeoutError);
    const controller = new AbortController();
    const reason = new Error("the page was left");
    setTimeout(() => controller.abort(reason), 20);
    await assert.rejects(
      behind.customWebhooks.list({}, { signal: controller.signal, timeoutMs: 10_000 }),
      reason,
    );
    const before = gateway.seen.length;
    await assert.rejects(behind.customWebhooks.list({}, { signal: controller.signal }), reason);
    assert.equal(gateway.seen.length, before);
  });

  test("a token that does not come does not hold a call up", async () => {
    const waiting = createClient({
      baseUrl: installation.url,
      token: () => new Promise(() => {}),
      timeoutMs: 50,
    });
    await assert.rejects(waiting.customWebhooks.list(), TimeoutError);
    const failing = createClient({
      baseUrl: installation.url,
      token: () => Promise.reject(new Error("signed out")),
    });
    await assert.rejects(failing.customWebhooks.list(), /signed out/);
  });
});

describe("publish", () => {
  test("each event of an array is accepted or refused by itself", async () => {
    const unknown = { event: "deal.exploded", data: {} };
    const named = { ...deal, id: "deal-1-won", timestamp: new Date("2025-10-20T12:00:00Z") };
    const results = await publish([deal, unknown, named, named]);
    assert.equal(results.length, 4);
    assert.ok(results[0]?.accepted && results[2]?.accepted && results[3]?.accepted);
    assert.deepEqual([results[2].id, results[3].id], ["deal-1-won", "deal-1-won"]);
    assert.ok(results[1] && !results[1].accepted);
    assert.equal(results[1].error.status, 422);
    assert.equal(results[1].error.errors[0]?.pointer, "/1/event");
    assert.deepEqual(await publish([]), []);
  });

  test("a refused event is an error, at once", async () => {
    const through = createClient({ baseUrl: gateway.url, token: installation.apiKey });
    const before = gateway.seen.length;
    const refusal = await problem(through.events.publish({ event: "deal.exploded", data: {} }));
    assert.deepEqual([refusal.status, refusal.errors[0]?.pointer], [422, "/event"]);
    assert.equal(gateway.seen.length, before + 1);
  });

  test("data that the type's schema refuses passes if it is to", async () => {
    const odd = { event: "deal.moved", data: { deal: "none" } };
    assert.equal((await problem(publish(odd))).status, 422);
    assert.ok((await publish(odd, { strict: false })).id);
  });

  for (const { what, input, fates } of [
    { what: "an event", input: () => deal, fates: ["cut", "lose", "hang", { status: 429, retryAfter: "1" }] },
    {
      what: "an array",
      input: () => [deal, deal],
      fates: [{ status: 503 }, "lose", { unstored: [1] }, { status: 502 }, { unstored: [0, 1] }],
    },
  ] satisfies { what: string; input: () => EventInput | EventInput[]; fates: Fate[] }[]) {
    test(`${what}: whatever happens on the way, it is accepted once`, async () => {
      const hook = await client.customWebhooks.create({
        name: "once",
        url: receiver.url,
        events: ["deal.moved"],
      });
      const through = createClient({ baseUrl: gateway.url, token: installation.apiKey, timeoutMs: 2_000 });
      const before = gateway.seen.length;
      gateway.fates.push(...fates);
      const answer: { id: string } | PublishResult[] = await through.events.publish(input() as EventInput);
      const results = Array.isArray(answer) ? answer : [{ accepted: true as const, ...answer }];
      const ids = results.map((result) => (result.accepted ? result.id : assert.fail(result.error)));
      assert.equal(new Set(ids).size, Array.isArray(input()) ? 2 : 1);

      const seen = gateway.seen.slice(before);
      assert.ok(seen.length > fates.length);
      assert.equal(new Set(seen.map(({ key, body }) => `${key} ${body}`)).size, 1);
      assert.ok((seen[0]?.key?.length ?? 0) >= 32);
      if (what === "an event") {
        assert.ok((seen[4]?.at ?? 0) - (seen[3]?.at ?? 0) >= 1000, "it came back before it was to");
      }

      await eventually(async () => (await client.customWebhooks.getLogs(hook.id)).data.length >= ids.length);
      const { data } = await client.customWebhooks.getLogs(hook.id);
      assert.deepEqual(new Set(data.map(({ eventId }) => eventId)), new Set(ids));
      assert.equal(data.length, ids.length);
      await client.customWebhooks.delete(hook.id);
    });
  }

  test("an event that could not be stored in time is told from those that were", async () => {
    const through = createClient({ baseUrl: gateway.url, token: installation.apiKey });
    gateway.fates.push({ unstored: [1] });
    const results = await through.events.publish([deal, deal], { retryForMs: 0 });
    assert.ok(results[0]?.accepted);
    assert.ok(results[1] && !results[1].accepted);
    assert.equal(results[1].error.status, 503);
  });

  test("a key of one's own names the request, whoever repeats it", async () => {
    const idempotencyKey = `order-${Date.now()}`;
    const first = await publish(deal, { idempotencyKey });
    assert.deepEqual(await publish(deal, { idempotencyKey }), first);
    const other = await problem(publish({ ...deal, id: "other" }, { idempotencyKey }));
    assert.equal(other.status, 422);
  });

  test("it gives up when its time is over, and when its caller wants", async () => {
    const through = createClient({ baseUrl: gateway.url, token: installation.apiKey });
    gateway.fates.push({ status: 503 });
    assert.equal((await problem(through.events.publish(deal, { retryForMs: 0 }))).status, 503);
    gateway.fates.push({ status: 503, retryAfter: "3600" });
    assert.equal((await problem(through.events.publish([deal], { retryForMs: 60_000 }))).retryAfter, 3600);
    gateway.fates.push("cut");
    await assert.rejects(through.events.publish([deal], { retryForMs: 0 }), ConnectionError);

    const controller = new AbortController();
    const reason = new Error("enough");
    gateway.fates.push({ status: 503, retryAfter: "30" });
    setTimeout(() => controller.abort(reason), 200);
    const began = Date.now();
    await assert.rejects(through.events.publish(deal, { signal: controller.signal }), reason);
    assert.ok(Date.now() - began < 20_000, "it waited for its next try");
  });
});
