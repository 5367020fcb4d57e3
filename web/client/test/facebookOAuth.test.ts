// What the calls that need no browser ask of the API. Those that do, and what the API answers, are
// tested in one (../../browser).
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ClientConfig, createClient, FacebookOAuthError, ProblemError } from "@primezap/client";

/** A client whose API keeps what it is asked, and answers it with a status. */
function listening(config: Partial<ClientConfig> = {}, status = 200, answer: object = {}) {
  const asked: { path: string; body: Record<string, unknown> }[] = [];
  const { facebookOAuth } = createClient({
    baseUrl: "https://primezap.test/",
    token: "pz_test",
    fetch: async (request) => {
      asked.push({ path: new URL(request.url).pathname, body: await request.json() });
      return Response.json(answer, { status });
    },
    ...config,
  });
  return { asked, facebookOAuth };
}

test("each call is an action", async () => {
  const { asked, facebookOAuth } = listening();
  const callback = "https://primezap.test/integracoes/facebook/callback";
  await facebookOAuth.getAuthUrl();
  await facebookOAuth.getAuthUrl({
    redirectUri: "https://app.test/cb",
    scopes: ["a"],
    authType: "rerequest",
  });
  await facebookOAuth.exchangeCode("c", callback, "s");
  await facebookOAuth.subscribeWebhook("1");
  await facebookOAuth.subscribeWebhook("1", "EAA", ["message_reads"]);
  await facebookOAuth.unsubscribeWebhook("1");
  await facebookOAuth.listConnections();
  await facebookOAuth.listConnections({ limit: 2, cursor: "x" });
  await facebookOAuth.refresh({ grantId: "g" });
  await facebookOAuth.disconnect({ connectionId: "k", force: true });
  assert.deepEqual(
    asked.map(({ body }) => body),
    [
      { action: "get_auth_url", redirectUri: callback },
      { action: "get_auth_url", redirectUri: "https://app.test/cb", scopes: ["a"], authType: "rerequest" },
      { action: "exchange_code", code: "c", redirectUri: callback, state: "s" },
      { action: "subscribe_webhook", pageId: "1" },
      { action: "subscribe_webhook", pageId: "1", pageAccessToken: "EAA", fields: ["message_reads"] },
      { action: "unsubscribe_webhook", pageId: "1" },
      { action: "list_connections" },
      { action: "list_connections", limit: 2, cursor: "x" },
      { action: "refresh", grantId: "g" },
      { action: "disconnect", connectionId: "k", force: true },
    ],
  );
  assert.deepEqual([...new Set(asked.map(({ path }) => path))], ["/api/oauth/facebook"]);
});

test("the edge function is called where it is configured", async () => {
  const { asked, facebookOAuth } = listening({ facebookOAuthPath: "/functions/v1/facebook-oauth" });
  await facebookOAuth.listConnections();
  assert.equal(asked[0]?.path, "/functions/v1/facebook-oauth");
});

test("a problem tells what Meta said", async () => {
  const problem = { type: "urn:primezap:problem:meta-throttled", title: "Throttled by Meta", metaCode: 4 };
  const { facebookOAuth } = listening({}, 429, problem);
  const error = await facebookOAuth.refresh({ grantId: "g" }).catch((reason: unknown) => reason);
  assert.ok(error instanceof ProblemError);
  assert.deepEqual([error.type, error.problem.metaCode], [problem.type, 4]);
});

test("a code of which nobody knows the state is not sent", async () => {
  const { asked, facebookOAuth } = listening();
  const error = await facebookOAuth
    .exchangeCode("c", "https://app.test/cb")
    .catch((reason: unknown) => reason);
  assert.ok(error instanceof FacebookOAuthError);
  assert.equal(error.reason, "failed");
  assert.equal(asked.length, 0);
});

test("where there is no window, a pop-up says so", async () => {
  const { asked, facebookOAuth } = listening();
  await assert.rejects(facebookOAuth.initiateOAuthFlow(), /needs a browser/);
  assert.equal(asked.length, 0);
});
