// Lets the join page start while the line is down: it keeps the page and its files as they were last
// seen. An answer of the hub always comes first.
"use strict";

const CACHE_NAME = "jharnet-join";
const PATIENCE = 6000;

addEventListener("install", () => skipWaiting());
addEventListener("activate", (event) => event.waitUntil(clients.claim()));

addEventListener("fetch", (event) => {
  const { pathname, origin } = new URL(event.request.url);
  const ours = origin === location.origin && /\/(join|static)\//.test(pathname);
  if (ours && event.request.method === "GET") event.respondWith(answer(event.request));
});

async function answer(request) {
  const cache = await caches.open(CACHE_NAME);
  try {
    const fresh = await fetch(request, { signal: AbortSignal.timeout(PATIENCE) });
    if (fresh.ok) {
      await cache.delete(request, { ignoreSearch: true }); // of an older version
      await cache.put(request, fresh.clone());
    }
    return fresh;
  } catch (error) {
    const found = await cache.match(request, { ignoreSearch: true });
    if (found) return found;
    throw error;
  }
}
