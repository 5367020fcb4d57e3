import { configure, customWebhooksService, ProblemError, publish } from "@primezap/client";

configure({
  baseUrl: process.env.PRIMEZAP_URL ?? "http://127.0.0.1:8080",
  token: process.env.PRIMEZAP_TOKEN ?? "", // or a function: async () => (await session()).accessToken
});

try {
  const webhook = await customWebhooksService.create({
    name: "my CRM",
    url: "https://crm.example.com/webhooks",
    events: ["lead.qualified", "deal.*"],
  });
  console.log("keep this, it is not shown again:", webhook.secret);

  // Whatever its data: without the option it has to fit the event type's schema.
  const { id } = await publish({ event: "deal.moved", data: { deal: { id: "d-1" } } }, { strict: false });
  console.log("published", id);

  const { data } = await customWebhooksService.getLogs(webhook.id, { page: 1, limit: 50, success: false });
  const { stats } = await customWebhooksService.getStats(webhook.id);
  console.log(data.length, "failed;", stats.successfulCalls, "of", stats.totalCalls, "delivered");
} catch (error) {
  if (error instanceof ProblemError) {
    console.error(error.status, error.detail, error.errors, error.requestId);
  }
  throw error;
}
