import type { BrowserContext, Page } from "@playwright/test";
import type { ExchangedCode, FacebookLogin } from "@primezap/client";
import { expect, test } from "./fixtures.js";

const messageType = "primezap:facebook-oauth";

/** Presses a button of the simulated dialog: allow, deny or fail. */
const press = (popup: Page, what: "allow" | "deny" | "fail") =>
  popup.locator(`button[name=do][value=${what}]`).click();

/** Plays the user in the simulated dialog, who allows all but what is declined. */
async function allow(popup: Page, user: string, declined: { scopes?: string[]; pages?: string[] } = {}) {
  await popup.locator(`input[name=user][value="${user}"]`).check();
  for (const scope of declined.scopes ?? []) {
    await popup.locator(`input[name=scope][value=${scope}]`).uncheck();
  }
  for (const page of declined.pages ?? []) {
    await popup.locator(`input[name=page][value="${user}/${page}"]`).uncheck();
  }
  await press(popup, "allow");
}

/** The state with which the dialog was asked. */
async function stateOf(popup: Page): Promise<string> {
  await popup.waitForURL(/dialog\/oauth/);
  return new URL(popup.url()).searchParams.get("state") ?? "";
}

/** What the page has been told by windows, by anybody. */
const messages = (page: Page) =>
  page.evaluate(() => (window as unknown as { messages: Record<string, string>[] }).messages);

const isClosed = (popup: Page) => expect.poll(() => popup.isClosed()).toBe(true);

test.afterEach("nothing is left behind", async ({ page }) => {
  const left = await page.evaluate(() => (window as { leftovers?: () => number }).leftovers?.());
  expect(left ?? 0).toBe(0);
});

test.describe("a login connects", () => {
  test("from the click to a message at the page", async ({
    open,
    connect,
    outcome,
    call,
    client,
    user,
    simulate,
  }) => {
    await open({ options: { exchange: true } });
    const popup = await connect();
    await expect(popup.locator("h1")).toHaveText("Login simulado do Facebook");
    const size = await popup.evaluate(() => [innerWidth, innerHeight]);
    expect(size[0]).toBeLessThanOrEqual(600);
    await allow(popup, user.id);
    const { value, error } = await outcome();
    expect(error).toBeUndefined();
    const exchanged = value as ExchangedCode;
    await isClosed(popup);

    expect(exchanged.user).toMatchObject({ id: user.id, name: expect.stringContaining("Pessoa") });
    expect(exchanged.pages.map(({ id }) => id).sort()).toEqual(user.pageIds);
    expect(exchanged.instagramAccounts.map(({ pageId }) => pageId)).toEqual([user.pageIds[0]]);
    expect([exchanged.missingScopes, exchanged.warnings]).toEqual([[], []]);

    const { connections, grants } = await client.facebookOAuth.listConnections();
    expect(connections.map(({ connection: { channel, status } }) => `${channel} ${status}`).sort()).toEqual([
      "facebook active",
      "facebook active",
      "instagram active",
    ]);
    expect(grants.map(({ id }) => id)).toEqual([exchanged.grantId]);

    const [pageId = ""] = user.pageIds;
    const subscribed = await call("subscribeWebhook", pageId);
    expect(subscribed.error).toBeUndefined();
    expect(subscribed.value.success).toBe(true);
    expect(subscribed.value.subscribedFields).toEqual(
      expect.arrayContaining(["messages", "messaging_postbacks"]),
    );
    await simulate("POST", "message", { channel: "facebook", to: pageId, text: "bom dia" });
    await expect.poll(async () => (await client.conversations.list()).data.length).toBe(1);

    expect((await call("unsubscribeWebhook", pageId)).value).toEqual({ success: true });
    expect((await call("refresh", { grantId: exchanged.grantId })).value.grant.status).toBe("active");
    const ended = await call("disconnect", { grantId: exchanged.grantId });
    expect(ended.value).toMatchObject({ success: true, revoked: true });
    expect(ended.value.connectionIds).toHaveLength(3);
  });

  test("without what was declined in the dialog", async ({ open, connect, outcome, user }) => {
    await open({ options: { exchange: true } });
    const [first = "", second = ""] = user.pageIds;
    await allow(await connect(), user.id, { scopes: ["instagram_manage_messages"], pages: [second] });
    const exchanged = (await outcome()).value as ExchangedCode;
    expect(exchanged.missingScopes).toEqual(["instagram_manage_messages"]);
    expect(exchanged.grantedScopes).not.toContain("instagram_manage_messages");
    expect(exchanged.pages.map(({ id }) => id)).toEqual([first]);
  });

  test("by the callback's other path, and the edge function", async ({
    open,
    connect,
    outcome,
    user,
    config,
    page,
  }) => {
    await open({
      config: { facebookOAuthPath: "/functions/v1/facebook-oauth" },
      options: {
        exchange: true,
        redirectUri: `${config.baseUrl}/oauth/facebook/callback`,
        scopes: ["pages_show_list"],
      },
    });
    const paths: string[] = [];
    page.on("request", (request) => paths.push(new URL(request.url()).pathname));
    await allow(await connect(), user.id);
    expect((await outcome()).value.grantedScopes).toContain("pages_show_list");
    expect(new Set(paths)).toEqual(new Set(["/functions/v1/facebook-oauth"]));
  });

  test("from a page that lets pop-ups alone be reached", async ({ open, connect, outcome, user }) => {
    await open({ coop: "same-origin-allow-popups", options: { exchange: true } });
    await allow(await connect(), user.id);
    expect((await outcome()).value.user.id).toBe(user.id);
  });

  test("in two steps, each code with its own state, and no code twice", async ({
    open,
    connect,
    outcome,
    call,
    user,
  }) => {
    await open();
    const logins: FacebookLogin[] = [];
    for (const click of [0, 1]) {
      await allow(await connect(), user.id);
      logins.push((await outcome(click)).value);
    }
    const [first, second] = logins as [FacebookLogin, FacebookLogin];
    expect(first.state).not.toBe(second.state);
    for (const { code, redirectUri } of [first, second]) {
      expect((await call("exchangeCode", code, redirectUri)).value.user.id).toBe(user.id);
    }
    expect((await call("exchangeCode", first.code, first.redirectUri)).error).toMatchObject({
      name: "ProblemError",
      status: 409,
      type: "urn:primezap:problem:oauth-state-used",
    });
  });

  test("after the page was loaded anew, with the state", async ({ open, connect, outcome, call, user }) => {
    await open();
    await allow(await connect(), user.id);
    const { code, state, redirectUri } = (await outcome()).value as FacebookLogin;
    await open();
    expect((await call("exchangeCode", code, redirectUri)).error?.reason).toBe("failed");
    expect((await call("exchangeCode", code, redirectUri, state)).value.user.id).toBe(user.id);
  });
});

test.describe("a login fails", () => {
  test("denied, with what Facebook said", async ({ open, connect, outcome, client }) => {
    await open({ options: { exchange: true } });
    const popup = await connect();
    await press(popup, "deny");
    expect((await outcome()).error).toMatchObject({
      name: "FacebookOAuthError",
      reason: "denied",
      refusal: { error: "access_denied", errorCode: "200", errorReason: "user_denied" },
      cause: { name: "ProblemError", status: 403, type: "urn:primezap:problem:oauth-denied" },
    });
    await isClosed(popup);
    expect((await client.connections.list()).data).toEqual([]);
  });

  test("failed, as Facebook could not do it", async ({ open, connect, outcome }) => {
    await open();
    const popup = await connect();
    await press(popup, "fail");
    expect((await outcome()).error).toMatchObject({ reason: "failed", refusal: { errorCode: "901" } });
    await isClosed(popup);
  });

  test("blocked, as nobody has clicked", async ({ open, outcome, context, page }) => {
    const asked: string[] = [];
    page.on("request", (request) => asked.push(new URL(request.url()).pathname));
    await open({ atOnce: true });
    expect((await outcome()).error).toMatchObject({ name: "FacebookOAuthError", reason: "blocked" });
    expect(context.pages()).toHaveLength(1);
    expect(asked).not.toContain("/api/oauth/facebook");
  });

  test("closed by the user", async ({ open, connect, outcome }) => {
    await open();
    const popup = await connect();
    await stateOf(popup);
    await popup.close();
    expect((await outcome()).error?.reason).toBe("closed");
  });

  test("cut off by the page's own policy", async ({ open, connect, outcome }) => {
    await open({ coop: "same-origin" });
    await connect();
    expect((await outcome()).error?.reason).toBe("closed");
  });

  test("timed out", async ({ open, connect, outcome }) => {
    await open({ options: { timeoutMs: 700 } });
    const popup = await connect();
    expect((await outcome()).error?.reason).toBe("timed_out");
    await isClosed(popup);
  });

  test("aborted", async ({ open, connect, outcome, page }) => {
    await open();
    const popup = await connect();
    await stateOf(popup);
    await page.getByRole("button", { name: "Cancelar" }).click();
    expect((await outcome()).error).toMatchObject({ reason: "aborted", cause: { name: "Error" } });
    await isClosed(popup);
    await page.getByRole("button", { name: "Conectar Facebook" }).click();
    expect((await outcome(1)).error?.reason).toBe("aborted");
  });

  test("superseded by the next one", async ({ open, connect, outcome, user }) => {
    await open({ options: { exchange: true } });
    const first = await connect();
    await stateOf(first);
    const second = await connect();
    expect((await outcome()).error?.reason).toBe("superseded");
    await isClosed(first);
    await allow(second, user.id);
    expect((await outcome(1)).value.user.id).toBe(user.id);
  });

  test("refused by the API, as other calls are", async ({ open, connect, outcome }) => {
    await open({ options: { redirectUri: "https://elsewhere.example/callback" } });
    const popup = await connect();
    expect((await outcome()).error).toMatchObject({ name: "ProblemError", status: 422 });
    await isClosed(popup);
  });
});

test.describe("nobody else is heard", () => {
  /** A window that the page has opened, at another site's. */
  const openElsewhere = async (context: BrowserContext, page: Page, url: string) => {
    const opened = context.waitForEvent("page");
    await page.evaluate((where) => void window.open(where), url);
    const other = await opened;
    await other.waitForURL(url);
    return other;
  };

  test("another window, another origin, another state", async ({
    open,
    connect,
    outcome,
    page,
    context,
    world,
    user,
    config,
  }) => {
    await open();
    const popup = await connect();
    const state = await stateOf(popup);
    const dialog = popup.url();
    const forged = { type: messageType, code: "forged", state };
    const tell = (message: object) => window.opener.postMessage(message, "*");
    const heard = (n: number) => expect.poll(async () => (await messages(page)).length).toBe(n);

    await page.evaluate((message) => window.postMessage(message, "*"), forged); // itself
    await heard(1);
    const other = await openElsewhere(context, page, `${config.baseUrl}/healthz`); // the right origin
    await other.evaluate(tell, forged);
    await heard(2);
    await other.close();

    await popup.evaluate((url) => void location.assign(url), `${world.elsewhere.origin}/page/page.js`);
    await popup.waitForURL(/page\.js/);
    await popup.evaluate(tell, forged); // the pop-up itself, gone astray
    await heard(3);

    const callback = `${config.baseUrl}/integracoes/facebook/callback?code=forged&state=another`;
    await popup.evaluate((url) => void location.assign(url), callback);
    await heard(4);
    expect((await messages(page))[3]).toMatchObject({ type: messageType, code: "forged", state: "another" });

    await popup.evaluate((url) => void location.assign(url), dialog);
    await popup.waitForURL(/dialog\/oauth/);
    await allow(popup, user.id);
    const { value, error } = await outcome();
    expect(error).toBeUndefined();
    expect(value.state).toBe(state);
    expect(value.code).not.toBe("forged");
  });

  test("a page of another site gets nothing", async ({
    open,
    connect,
    outcome,
    page,
    context,
    world,
    config,
  }) => {
    await open({ origin: world.elsewhere.origin });
    const popup = await connect();
    expect((await outcome()).error?.name).toBe("ConnectionError");
    await isClosed(popup);

    const callback = `${config.baseUrl}/integracoes/facebook/callback?code=secret&state=secret`;
    const thief = await openElsewhere(context, page, callback);
    await expect(thief.locator("#unanswered")).toBeVisible({ timeout: 10_000 });
    expect(await messages(page)).toEqual([]);
  });
});

for (const path of ["/integracoes/facebook/callback", "/oauth/facebook/callback"]) {
  test(`${path} says in two languages that nobody waits for it`, async ({ page, config }) => {
    await page.goto(`${config.baseUrl}${path}?code=c&state=s`);
    await expect(page.locator("#unopened [lang^=pt]")).toBeVisible();
    await expect(page.locator("#unopened [lang^=en]")).toBeVisible();
    expect(new URL(page.url()).search).toBe("");
  });
}
