import { verifyWebhook } from "@primezap/client/verify";

export async function receive(request: Request, secret: string): Promise<Response> {
  const body = await request.text();
  if (!(await verifyWebhook(body, request.headers.get("X-Webhook-Signature"), secret))) {
    return new Response("not verified", { status: 401 });
  }
  console.log("verified", JSON.parse(body).event);
  return new Response(null, { status: 204 });
}
