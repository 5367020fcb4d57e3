import { verifyStandardWebhook, WebhookVerificationError } from "@primezap/client/verify";

interface Env {
  WEBHOOK_SECRET: string;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const body = await request.text(); // as it arrived: verify before JSON.parse
    try {
      const event = await verifyStandardWebhook(body, request.headers, env.WEBHOOK_SECRET);
      console.log("verified", event.event, event.id); // event.id is the same when it is sent again
      return new Response(null, { status: 204 });
    } catch (error) {
      if (error instanceof WebhookVerificationError && error.reason !== "secret") {
        return new Response("not verified", { status: 401 });
      }
      throw error;
    }
  },
};
