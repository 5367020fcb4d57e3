"use strict";
{
  const type = "primezap:facebook-oauth";
  const patience = 4000; // ms that the opener may take to acknowledge

  const query = new URLSearchParams(location.search);
  history.replaceState(null, "", location.pathname); // neither to be seen nor to be sent twice

  const show = (id) => {
    for (const section of document.querySelectorAll("section[id]")) section.hidden = section.id !== id;
    const heading = document.querySelector(`#${id} h1`);
    if (heading) document.title = heading.textContent;
  };

  const state = query.get("state");
  const code = query.get("code");
  const failed = ["error", "error_code", "error_reason"].some((name) => query.has(name));
  const message = failed
    ? {
        type,
        error: query.get("error") ?? "unknown_error", // some failures have a number alone
        errorCode: query.get("error_code"),
        errorReason: query.get("error_reason"),
        errorDescription: query.get("error_description") ?? query.get("error_message"),
        state,
      }
    : { type, code, state };
  const denied = failed && [query.get("error"), query.get("error_reason")].some((why) => why === "access_denied" || why === "user_denied");

  // What is to be read where nobody takes the message.
  const unheard = (otherwise) => (denied ? "denied" : failed ? "failed" : otherwise);

  const opener = window.opener;
  if (!failed && code === null) show("empty");
  else if (!opener || opener.closed) show(unheard("unopened"));
  else {
    const told = document.documentElement.dataset.targets ?? "";
    const targets = new Set([location.origin, ...told.split(" ").filter(Boolean).map((target) => new URL(target).origin)]);
    targets.delete("null"); // no origin that could be told
    const waiting = setTimeout(() => show(unheard("unanswered")), patience);
    addEventListener("message", (event) => {
      if (event.source !== opener || !targets.has(event.origin) || event.data?.type !== `${type}:ack`) return;
      clearTimeout(waiting);
      show("done"); // in case the browser keeps the window
      close();
    });
    show("finishing");
    for (const target of targets) opener.postMessage(message, target); // the browser drops it where it is not the opener's
  }
}
