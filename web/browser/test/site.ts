// What serves the front end's page, with the built client beside it.
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

const web = new URL("../../", import.meta.url);
const folders: Record<string, string> = {
  "/client/": "client/dist/",
  "/openapi-fetch/": "node_modules/openapi-fetch/dist/",
  "/page/": "browser/page/",
};

const types: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
};

export interface Site {
  origin: string;
  stop(): void;
}

/** Serves the page at `/`, which has the Cross-Origin-Opener-Policy that `?coop=` says. */
export async function startSite(): Promise<Site> {
  const server = createServer(async (request, answer) => {
    const { pathname, searchParams } = new URL(request.url ?? "/", "http://site.test");
    const path = pathname === "/" ? "/page/index.html" : pathname;
    const [prefix, folder] = Object.entries(folders).find(([start]) => path.startsWith(start)) ?? [];
    const type = types[path.slice(path.lastIndexOf("."))];
    if (prefix === undefined || type === undefined) {
      answer.writeHead(404).end();
      return;
    }
    const coop = searchParams.get("coop");
    const content = await readFile(new URL(`${folder}${path.slice(prefix.length)}`, web)).catch(
      () => undefined,
    );
    answer.writeHead(content === undefined ? 404 : 200, {
      "Content-Type": type,
      ...(coop === null ? {} : { "Cross-Origin-Opener-Policy": coop }),
    });
    answer.end(content);
  });
  await listen(server);
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function listen(server: Server): Promise<void> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
}
