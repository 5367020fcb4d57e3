import { FacebookOAuthError, facebookOAuthService } from "@primezap/client";

/** For a button's click: connects pages and Instagram accounts, and has Meta tell of the pages' messages. */
export async function connectFacebook(signal?: AbortSignal): Promise<string> {
  try {
    const { pages, missingScopes } = await facebookOAuthService.initiateOAuthFlow({ exchange: true, signal });
    const connected = pages.filter(({ connectionId }) => connectionId !== null);
    for (const { id } of connected) {
      await facebookOAuthService.subscribeWebhook(id);
    }
    return `${connected.length} connected${missingScopes.length ? `, without ${missingScopes.join(", ")}` : ""}`;
  } catch (error) {
    if (!(error instanceof FacebookOAuthError)) {
      throw error; // a ProblemError, a TimeoutError, …
    }
    switch (error.reason) {
      case "blocked":
        return "Allow this page to open pop-ups, and try again.";
      case "denied":
      case "closed":
        return "Nothing was connected.";
      default:
        return `Nothing was connected: ${error.message}.`;
    }
  }
}
