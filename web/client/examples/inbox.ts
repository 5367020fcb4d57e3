import { connectionsService, contactsService, conversationsService } from "@primezap/client";

/** Connects a WhatsApp number, that may send 20 messages a minute. Meta is asked whether the token is its own. */
export const connect = (phoneNumberId: string, accessToken: string) =>
  connectionsService.create({
    channel: "whatsapp",
    name: "Shop",
    externalId: phoneNumberId,
    credentials: { accessToken },
    limits: { per_minute: 20 },
  });

/** Prints the open conversations, each with its last message. */
export async function printInbox(): Promise<void> {
  const { data } = await conversationsService.list({ status: "open", limit: 20 });
  for (const { id, contactId, assignee } of data) {
    const contact = await contactsService.get(contactId);
    const { data: messages } = await conversationsService.listMessages(id, { limit: 1 });
    console.log(contact.name, messages[0]?.text, assignee?.name ?? "nobody's");
  }
}
