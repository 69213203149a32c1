// The page's half of the service probe (probes/service/page_visit.py). A browser lets a page fetch
// from another site but not read the answer: only whether one came, and when its headers did.

const LONGEST = 120000;

// `known` are the origins that this page may visit. An address that was configured after it was
// opened is refused by its content security policy, which would look like a failed connection.
export async function visit(channel, { url, seconds }, known) {
  const address = new URL(url);
  if (!/^https?:$/.test(address.protocol) || !(seconds > 0)) throw new Error("a visit needs an address and its time");
  if (location.protocol === "https:" && address.protocol === "http:" && !isLocal(address)) {
    channel.answer({ outcome: "mixed" });
  } else if (!known.some((one) => new URL(one).origin === address.origin)) {
    channel.answer({ outcome: "outdated" });
  } else {
    channel.answer(await fetched(address, Math.min(1000 * seconds, LONGEST), channel));
  }
  await channel.over;
}

async function fetched(address, milliseconds, channel) {
  const stop = new AbortController();
  const began = performance.now();
  const took = () => (performance.now() - began) / 1000;
  const timer = setTimeout(() => stop.abort(), milliseconds);
  channel.over.then(() => stop.abort());
  try {
    await fetch(address, { mode: "no-cors", cache: "no-store", credentials: "omit", signal: stop.signal });
    return { outcome: "answered", seconds: took() };
  } catch {
    const outcome = took() * 1000 >= milliseconds - 5 ? "timeout" : "failed";
    return { outcome, seconds: took() };
  } finally {
    clearTimeout(timer);
    stop.abort(); // the rest of the page is not needed
  }
}

// A browser trusts its own computer without encryption.
function isLocal({ hostname }) {
  return hostname === "localhost" || hostname === "[::1]" || /^127\./.test(hostname);
}
