// A bad connection to the API: a gateway that does to each request as it is told.
import { once } from "node:events";
import { createServer, request as forward, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * What becomes of a request: it passes; its connection is cut before it reaches the API, or after, so that
 * the answer is lost; it is answered with a status, and perhaps Retry-After; nothing ever comes; or the answer
 * says of some events of an array that they could not be stored.
 */
export type Fate =
  | "pass"
  | "cut"
  | "lose"
  | "hang"
  | { status: number; retryAfter?: string }
  | { unstored: number[] };

export interface Seen {
  key: string | undefined;
  body: string;
  at: number;
}

export interface Gateway {
  url: string;
  /** The fates of the next requests; those after them pass. */
  fates: Fate[];
  seen: Seen[];
  stop(): void;
}

export async function startGateway(target: string): Promise<Gateway> {
  const fates: Fate[] = [];
  const seen: Seen[] = [];
  const server = createServer(async (req, res) => {
    const body = await read(req);
    seen.push({
      key: req.headers["idempotency-key"] as string | undefined,
      body: body.toString(),
      at: Date.now(),
    });
    const fate = fates.shift() ?? "pass";
    if (fate === "cut") {
      req.socket.destroy();
    } else if (fate === "hang") {
      return;
    } else if (typeof fate === "object" && "status" in fate) {
      const headers = fate.retryAfter === undefined ? {} : { "Retry-After": fate.retryAfter };
      res.writeHead(fate.status, headers).end("busy");
    } else {
      const onward = { method: req.method, headers: { ...req.headers, host: new URL(target).host } };
      forward(new URL(req.url ?? "/", target), onward, async (answer) => {
        const text = await read(answer);
        if (fate === "lose") {
          req.socket.destroy();
          return;
        }
        const changed = typeof fate === "object" ? forget(text, fate.unstored) : text;
        res.writeHead(answer.statusCode ?? 502, { ...answer.headers, "content-length": changed.length });
        res.end(changed);
      }).end(body);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    fates,
    seen,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function forget(answer: Buffer, unstored: number[]): Buffer {
  const { data } = JSON.parse(answer.toString());
  for (const i of unstored) {
    data[i] = { status: 503, error: { type: "about:blank", title: "Service Unavailable", status: 503 } };
  }
  return Buffer.from(JSON.stringify({ data }));
}
