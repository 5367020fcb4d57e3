import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
// Receivers import it alone.
import { verifyStandardWebhook, verifyWebhook, WebhookVerificationError } from "@primezap/client/verify";

interface Vectors {
  vectors: {
    name: string;
    secret: string;
    previous?: string[];
    id: string;
    timestamp: number;
    body: string;
    hex: string;
    standard: string;
    notOurs?: boolean;
  }[];
  standardRequests: Request[];
  hexRequests: Request[];
}

interface Request {
  name: string;
  secret: string;
  body: string;
  headers: Record<string, string>;
  now: number;
  error?: string;
}

const { vectors, standardRequests, hexRequests }: Vectors = JSON.parse(
  readFileSync(new URL("../../../../pkg/webhook/testdata/vectors.json", import.meta.url), "utf8"),
);

/** Checks that the promise fails for the reason. */
const refused = (promise: Promise<unknown>, reason: string) =>
  assert.rejects(promise, (error) => error instanceof WebhookVerificationError && error.reason === reason);

test("the file holds vectors of every kind", () => {
  assert.ok(vectors.length >= 10 && standardRequests.length >= 10 && hexRequests.length >= 5);
});

for (const v of vectors) {
  test(`both signatures are accepted: ${v.name}`, async () => {
    assert.equal(await verifyWebhook(v.body, v.hex, v.secret), true);
    assert.equal(await verifyWebhook(Buffer.from(v.body), v.hex, v.secret), true);
    const headers = {
      "webhook-id": v.id,
      "webhook-timestamp": String(v.timestamp),
      "webhook-signature": v.standard,
    };
    for (const secret of [v.secret, ...(v.previous ?? [])]) {
      const event = await verifyStandardWebhook(v.body, headers, secret, { now: v.timestamp });
      assert.deepEqual(event, { ...JSON.parse(v.body), id: v.id });
    }
    if (!v.notOurs) {
      assert.equal(await verifyWebhook(JSON.stringify(JSON.parse(v.body)), v.hex, v.secret), true);
    }
  });
}

for (const r of standardRequests) {
  test(`webhook-signature is ${r.error ? `refused, ${r.error}` : "accepted"}: ${r.name}`, async () => {
    const shapes = [
      [r.body, r.headers],
      [new TextEncoder().encode(r.body), new Headers(r.headers)],
      [new TextEncoder().encode(r.body).buffer, upperCase(r.headers)],
    ] as const;
    for (const [body, headers] of shapes) {
      const verified = verifyStandardWebhook(body, headers, r.secret, { now: r.now });
      if (r.error) {
        await refused(verified, r.error);
      } else {
        assert.equal((await verified).id, r.headers["webhook-id"]);
      }
    }
  });
}

const upperCase = (headers: Record<string, string>) =>
  Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toUpperCase(), [value]]));

for (const r of hexRequests) {
  test(`X-Webhook-Signature is ${r.error ? "refused" : "accepted"}: ${r.name}`, async () => {
    assert.equal(await verifyWebhook(r.body, r.headers["x-webhook-signature"], r.secret), !r.error);
  });
}

test("a signature in another alphabet, length or case is refused", async () => {
  const v = vectors[1];
  assert.ok(v);
  for (const signature of [v.hex.toUpperCase(), `${v.hex}0`, ` ${v.hex}`, "", null, "ç".repeat(64)]) {
    assert.equal(await verifyWebhook(v.body, signature, v.secret), false);
  }
});

test("the clock is the machine's, and five minutes the tolerance", async () => {
  const v = vectors[1];
  assert.ok(v);
  const headers = {
    "webhook-id": v.id,
    "webhook-timestamp": String(v.timestamp),
    "webhook-signature": v.standard,
  };
  await refused(verifyStandardWebhook(v.body, headers, v.secret), "tooOld");
  await verifyStandardWebhook(v.body, headers, v.secret, { now: v.timestamp + 300 });
  await verifyStandardWebhook(v.body, headers, v.secret, { now: v.timestamp + 3600, toleranceSeconds: 3600 });
});

test("a secret that no webhook has is a fault of the receiver", async () => {
  const v = vectors[1];
  assert.ok(v);
  for (const secret of [
    "",
    "short",
    "x".repeat(257),
    "whsec_not base64 at all",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSx=",
    "senha secreta é esta",
  ]) {
    await refused(verifyWebhook(v.body, v.hex, secret), "secret");
    await refused(verifyStandardWebhook(v.body, {}, secret), "secret");
  }
  await refused(verifyWebhook(v.body, v.hex, undefined as unknown as string), "secret");
});

test("a decoded body is a mistake", async () => {
  const v = vectors[1];
  assert.ok(v);
  await assert.rejects(verifyWebhook(JSON.parse(v.body), v.hex, v.secret), TypeError);
});
