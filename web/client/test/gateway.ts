// A bad connection to the API: a gateway that does to each request as it is told.
import { once } from "node:events";
import { createServer, request as forward } from "node:http";
import type { AddressInfo } from "node:net";

/**
 * What becomes of a request: it passes; its connection is cut before it reaches the API, or after, so that
 * the answer is lost; it is answered with a status, and perhaps Retry-After; or nothing ever comes.
 */
export type Fate = "pass" | "cut" | "lose" | "hang" | { status: number; retryAfter?: string };

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
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    seen.push({
      key: req.headers["idempotency-key"] as string | undefined,
      body: body.toString(),
      at: Date.now(),
    });
    const fate = fates.shift() ?? "pass";
    if (fate === "cut") {
      req.socket.destroy();
    } else if (typeof fate === "object") {
      res
        .writeHead(fate.status, fate.retryAfter === undefined ? {} : { "Retry-After": fate.retryAfter })
        .end("busy");
    } else if (fate !== "hang") {
      const onward = forward(
        new URL(req.url ?? "/", target),
        { method: req.method, headers: { ...req.headers, host: new URL(target).host } },
        (answer) => {
          if (fate === "lose") {
            answer.resume();
            answer.on("end", () => req.socket.destroy());
            return;
          }
          res.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.pipe(res);
        },
      );
      onward.end(body);
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
