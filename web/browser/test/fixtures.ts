// A running installation, a front end's page at an origin that it knows, one at an
// origin that it does not, and a tenant and somebody at Facebook for each test.
import { randomUUID } from "node:crypto";
import { test as base, expect, type Page } from "@playwright/test";
import { type Client, type ClientConfig, createClient, type FlowOptions } from "@primezap/client";
import { type Standalone, startStandalone } from "../../client/test/standalone.js";
import { type Site, startSite } from "./site.js";

interface World {
  installation: Standalone;
  site: Site;
  /** Not among CORS_ORIGINS. */
  elsewhere: Site;
}

interface User {
  id: string;
  /** Of the pages; the first has an Instagram account. */
  pageIds: string[];
}

/** What went wrong, as the page tells it. */
export interface Told {
  name: string;
  message: string;
  reason?: string;
  refusal?: Record<string, string>;
  status?: number;
  type?: string;
  cause?: { name: string; status?: number; type?: string };
}

export interface Outcome {
  // biome-ignore lint/suspicious/noExplicitAny: each test knows what it asked for
  value?: any;
  error?: Told;
}

export interface Setup {
  config?: Partial<ClientConfig>;
  options?: Omit<FlowOptions, "signal">;
  /** Begin when the page loads: without a click. */
  atOnce?: boolean;
  coop?: string;
  /** Of the page. */
  origin?: string;
}

interface Tools {
  config: ClientConfig;
  client: Client;
  user: User;
  /** Opens the front end's page. */
  open(setup?: Setup): Promise<void>;
  /** Clicks, and waits for the pop-up that comes of it. */
  connect(): Promise<Page>;
  /** What came of a click, the first one's being 0. */
  outcome(click?: number): Promise<Outcome>;
  /** What comes of a call of the service. */
  call(method: string, ...args: unknown[]): Promise<Outcome>;
  /** Tells the simulated Meta. */
  simulate(method: string, path: string, body: unknown): Promise<unknown>;
}

let users = 0;

export const test = base.extend<Tools, { world: World }>({
  world: [
    // biome-ignore lint/correctness/noEmptyPattern: Playwright reads the parameters
    async ({}, use) => {
      const [site, elsewhere] = await Promise.all([startSite(), startSite()]);
      const installation = await startStandalone({
        CORS_ORIGINS: site.origin,
        OAUTH_ACTIONS_PER_MINUTE: "0",
      });
      await use({ installation, site, elsewhere });
      await installation.stop();
      site.stop();
      elsewhere.stop();
    },
    { scope: "worker", timeout: 120_000 },
  ],

  config: async ({ world }, use) => {
    const { url, apiKey } = world.installation;
    await use({ baseUrl: url, token: apiKey, tenantId: randomUUID() });
  },
  client: async ({ config }, use) => use(createClient(config)),
  simulate: async ({ world }, use) =>
    use(async (method, path, body) => {
      const answer = await fetch(`${world.installation.metaSimulator}/simulate/${path}`, {
        method,
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      expect(answer.status).toBe(200);
      return answer.json();
    }),
  user: async ({ simulate }, use) => {
    users++;
    const user = { id: String(5550000 + users), name: `Pessoa ${users}` };
    await use(
      (await simulate("POST", "users/with-pages", { user, mix: { pages: 2, instagram: 1 } })) as User,
    );
  },

  open: async ({ page, world, config }, use) =>
    use(async ({ coop, origin = world.site.origin, ...setup } = {}) => {
      await page.addInitScript((given) => Object.assign(window, { setup: given }), {
        ...setup,
        config: { ...config, ...setup.config },
      });
      await page.goto(coop === undefined ? origin : `${origin}/?coop=${coop}`);
      await page.waitForFunction(() => "outcomes" in window);
    }),
  connect: async ({ page }, use) =>
    use(async () => {
      const opened = page.waitForEvent("popup");
      await page.getByRole("button", { name: "Conectar Facebook" }).click();
      return opened;
    }),
  outcome: async ({ page }, use) =>
    use((click = 0) =>
      page.evaluate(
        (i) => (window as unknown as { outcomes: Promise<Outcome>[] }).outcomes[i] as Promise<Outcome>,
        click,
      ),
    ),
  call: async ({ page }, use) =>
    use((method, ...args) =>
      page.evaluate(
        ([name, given]) => {
          const { outcome, service } = window as unknown as {
            outcome(promise: Promise<unknown>): Promise<Outcome>;
            service: Record<string, (...args: unknown[]) => Promise<unknown>>;
          };
          return outcome(service[name]?.(...given) ?? Promise.reject(new Error(`no ${name}`)));
        },
        [method, args] as const,
      ),
    ),
});

export { expect };
