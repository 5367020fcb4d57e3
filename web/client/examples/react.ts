import { customWebhooksService } from "@primezap/client";

/** What a query library asks for: a key, and a function that ends when the component does. */
export const webhookLogs = (id: string, page: number) => ({
  queryKey: ["webhooks", id, "logs", page],
  queryFn: ({ signal }: { signal: AbortSignal }) =>
    customWebhooksService.getLogs(id, { page, limit: 50, success: false }, { signal }),
});
