// Lets the join page start while the line is down: it keeps the page and its files as they were last
// seen. What the hub answers always goes first.
"use strict";

const KEPT = "jharnet-join";
const PATIENCE = 6000;

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  const ours = origin === location.origin && /^\/(join|static)\//.test(pathname);
  if (ours && event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const kept = await caches.open(KEPT);
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(PATIENCE) });
    if (fresh.ok) {
      await kept.delete(request, { ignoreSearch: true }); // of an older version
      await kept.put(request, fresh.clone());
    }
    return fresh;
  } catch (error) {
    const found = await kept.match(request, { ignoreSearch: true });
    if (found) return found;
    throw error;
  }
}
