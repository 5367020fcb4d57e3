// A front end's page, as small as can be. A test says before it loads what is to be
// configured and asked for (`setup`), and reads what came of each click (`outcomes`).
import { configure, facebookOAuthService } from "@primezap/client";

const { config, options, atOnce } = window.setup;

// What the client has set going and not ended.
const timers = new Set();
const listeners = new Set();
for (const [set, clear] of [
  ["setTimeout", "clearTimeout"],
  ["setInterval", "clearInterval"],
]) {
  const [original, originalClear] = [window[set].bind(window), window[clear].bind(window)];
  window[set] = (run, ms) => {
    const id = original(() => {
      if (set === "setTimeout") {
        timers.delete(id);
      }
      run();
    }, ms);
    timers.add(id);
    return id;
  };
  window[clear] = (id) => {
    timers.delete(id);
    originalClear(id);
  };
}
const { addEventListener, removeEventListener } = EventTarget.prototype;
EventTarget.prototype.addEventListener = function (type, listener, options) {
  if (type === "message" || type === "abort") {
    listeners.add(listener);
    if (options?.once) {
      addEventListener.call(this, type, () => listeners.delete(listener), { once: true });
    }
  }
  addEventListener.call(this, type, listener, options);
};
EventTarget.prototype.removeEventListener = function (type, listener, options) {
  listeners.delete(listener);
  removeEventListener.call(this, type, listener, options);
};

const outcomes = [];
const messages = [];
const controller = new AbortController();

const described = (error) => ({
  name: error.name,
  message: error.message,
  reason: error.reason,
  refusal: error.refusal,
  status: error.status,
  type: error.type,
  cause: error.cause && { name: error.cause.name, status: error.cause.status, type: error.cause.type },
});

/** What comes of a promise, as a test can read it. */
const outcome = (promise) =>
  promise.then(
    (value) => ({ value }),
    (error) => ({ error: described(error) }),
  );

const connect = () => {
  outcomes.push(outcome(facebookOAuthService.initiateOAuthFlow({ ...options, signal: controller.signal })));
};

configure(config);
addEventListener.call(window, "message", ({ data }) => messages.push(data));
document.querySelector("#connect").addEventListener("click", connect);
document.querySelector("#abort").addEventListener("click", () => controller.abort(new Error("not now")));
const leftovers = () => timers.size + listeners.size;
Object.assign(window, { leftovers, messages, outcome, outcomes, service: facebookOAuthService });
if (atOnce) {
  connect(); // nobody has clicked
}
