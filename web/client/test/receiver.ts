// A customer's server.
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";

export interface Delivery {
  headers: IncomingHttpHeaders;
  body: Buffer;
}

export interface Receiver {
  url: string;
  /** What to answer from now on: the statuses one after another, then the last one. */
  answer(...statuses: number[]): void;
  /** The n-th delivery, from 1, once it is there. */
  delivery(n: number): Promise<Delivery>;
  deliveries: readonly Delivery[];
  stop(): void;
}

export async function startReceiver(): Promise<Receiver> {
  const deliveries: Delivery[] = [];
  let statuses = [204];
  let arrived = () => {};
  let arrival = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const server = createServer(async (req, res) => {
    const chunks: Buffer[] = [];
    for await (const chunk of req) chunks.push(chunk);
    deliveries.push({ headers: req.headers, body: Buffer.concat(chunks) });
    const status = statuses.length > 1 ? statuses.shift() : statuses[0];
    res.writeHead(status ?? 204).end(status === 204 ? undefined : "no");
    arrived();
    arrival = new Promise((resolve) => {
      arrived = resolve;
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    answer: (...next) => {
      statuses = next;
    },
    delivery: async (n) => {
      for (;;) {
        const delivery = deliveries[n - 1];
        if (delivery !== undefined) {
          return delivery;
        }
        await arrival;
      }
    },
    deliveries,
    stop: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}
