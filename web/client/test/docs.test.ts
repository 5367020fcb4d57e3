// What the documents show is what is checked: every snippet of TypeScript is one
// of the examples, which are compiled with these tests and run below.
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { describe, test } from "node:test";
import edge from "../examples/edge.js";
import { receive } from "../examples/hex.js";

const client = new URL("../../", import.meta.url); // from build/test
const documents = ["README.md", "../../README.md", "../../docs/receiving-webhooks.md"];

const read = (path: string) => readFileSync(new URL(path, client), "utf8");

const snippets = documents.flatMap((document) =>
  [...read(document).matchAll(/^```(?:ts|typescript)\n(.*?)^```$/gms)].map(([, code]) => ({
    document,
    code,
  })),
);

describe("documents", () => {
  const examples = readdirSync(new URL("examples/", client)).map((name) => read(`examples/${name}`));

  test("they show examples, and nothing else", () => {
    assert.ok(snippets.length > examples.length, "the snippets were not found");
    for (const { document, code } of snippets) {
      assert.ok(examples.includes(code ?? ""), `${document} shows what is no example:\n${code}`);
    }
  });

  test("every example is shown", () => {
    for (const example of examples) {
      assert.ok(
        snippets.some(({ code }) => code === example),
        `nobody shows\n${example}`,
      );
    }
  });
});

describe("the receivers of the examples", () => {
  const { vectors } = JSON.parse(read("../../pkg/webhook/testdata/vectors.json"));
  const { secret, id, body, hex } = vectors[1];

  const sign = async (timestamp: number) => {
    const raw = Buffer.from(secret.slice("whsec_".length), "base64");
    const key = await crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    const mac = await crypto.subtle.sign("HMAC", key, Buffer.from(`${id}.${timestamp}.${body}`));
    return `v1,${Buffer.from(mac).toString("base64")}`;
  };

  const deliver = (headers: Record<string, string>, sent = body) =>
    new Request("https://edge.test/", { method: "POST", headers, body: sent });

  test("the edge function takes what is signed, and nothing else", async (t) => {
    t.mock.method(console, "log", () => {});
    const now = Math.floor(Date.now() / 1000);
    const headers = {
      "webhook-id": id,
      "webhook-timestamp": String(now),
      "webhook-signature": `${await sign(now - 1)} ${await sign(now)}`,
    };
    const env = { WEBHOOK_SECRET: secret };
    assert.equal((await edge.fetch(deliver(headers), env)).status, 204);
    assert.equal((await edge.fetch(deliver(headers, `${body} `), env)).status, 401);
    const old = {
      ...headers,
      "webhook-timestamp": String(now - 600),
      "webhook-signature": await sign(now - 600),
    };
    assert.equal((await edge.fetch(deliver(old), env)).status, 401);
    await assert.rejects(edge.fetch(deliver(headers), { WEBHOOK_SECRET: "" }));
  });

  test("so does the one that checks X-Webhook-Signature", async (t) => {
    t.mock.method(console, "log", () => {});
    assert.equal((await receive(deliver({ "X-Webhook-Signature": hex }), secret)).status, 204);
    assert.equal((await receive(deliver({ "X-Webhook-Signature": hex }, `${body} `), secret)).status, 401);
    assert.equal((await receive(deliver({}), secret)).status, 401);
  });
});
