// Statistics of a call (W3C webrtc-stats): samples of getStats, and the two reports to the hub made
// from them. Unknown values are null.

const LINE_OVERHEAD = 28 + 16; // bytes around a plain RTP packet: IPv4, UDP, SRTP tag
const SAMPLES_A_PACKET = 960; // 20 ms of Opus at 48 kHz
const SLOW_CAMERA = 20; // frames a second
const BUSY = 0.9; // share of the time that goes into decoding, or into encoding
const SETTLING = 3; // seconds, as long as our own agent waits for the queue
const LONGEST_GAP = 0.35; // seconds between samples that are taken every 0.25
const LATE_PICTURE = 1; // seconds from which the wait for the first one is a freeze, as at the hub

// One reading of all counters.
export async function sample(peer) {
  const found = { at: performance.now() / 1000, in: {}, out: {}, remote: {}, source: {}, pair: {} };
  const rooms = {
    "inbound-rtp": "in",
    "outbound-rtp": "out",
    "remote-inbound-rtp": "remote",
    "media-source": "source",
  };
  for (const entry of (await peer.getStats()).values()) {
    if (rooms[entry.type]) found[rooms[entry.type]][entry.kind] = entry;
    else if (entry.type === "candidate-pair" && entry.nominated) found.pair = entry;
  }
  return found;
}

// Counters of one received stream, without retransmissions, which have a stream of their own.
export function came(entry = {}) {
  const packets = entry.packetsReceived ?? 0;
  const lost = Math.max(0, entry.packetsLost ?? 0);
  const bytes = (entry.bytesReceived ?? 0) + (entry.headerBytesReceived ?? 0);
  return {
    lost,
    packets: packets - (entry.retransmittedPacketsReceived ?? 0) + lost,
    lineBytes: bytes + LINE_OVERHEAD * packets,
    newest: (entry.lastPacketReceivedTimestamp ?? 0) / 1000,
  };
}

// Four times a second: what the sender needs to notice congestion.
export function account(now) {
  const audio = came(now.in.audio);
  const video = came(now.in.video);
  return {
    written: (now.in.audio ?? now.in.video).timestamp / 1000,
    line_bytes: audio.lineBytes + video.lineBytes,
    audio_packets: audio.packets,
    audio_lost: audio.lost,
    audio_newest: audio.newest,
    video_packets: video.packets,
    video_lost: video.lost,
    video_newest: video.newest,
  };
}

// What we sent, over the last stretch without a change of the picture's height. `wanted` is what
// the hub asked for, `least` the shortest stretch that is judged, in seconds, `advice` what the hub
// told a browser that does not adapt by itself.
export function sent(samples, wanted, least, advice) {
  const last = samples.at(-1);
  let start = Math.max(0, samples.findIndex((s) => s.out.video?.frameHeight));
  for (let at = start + 1; at < samples.length; at += 1) {
    if (samples[at].out.video?.frameHeight !== samples[at - 1].out.video?.frameHeight) start = at;
  }
  if (advice && start > 0) { // what was sent before still fills the line
    const settled = samples.findIndex((s) => s.at > samples[start].at + SETTLING);
    if (settled > 0) start = settled;
  }
  while (start > 0 && last.at - samples[start].at < least) start -= 1;
  const first = samples[start];
  const seconds = Math.max(0.1, last.at - first.at);
  const video = last.out.video ?? {};
  const target = advice ? advice.video : video.targetBitrate;
  const short = wanted.video > 0 && target < 0.9 * wanted.video;
  const steppedDown = short && (advice !== null || video.qualityLimitationReason === "bandwidth");
  const estimate = advice ? advice.line_rate : last.pair.availableOutgoingBitrate;
  const trips = roundTrips(samples);
  const judged = samples.slice(start);
  return {
    seconds,
    height: wanted.video ? (video.frameHeight ?? 0) : 0,
    stepped_down: steppedDown,
    capacity: steppedDown ? (estimate ?? null) : null,
    retransmitted: video.retransmittedPacketsSent ?? null,
    round_trip_p50: quantile(trips, 0.5),
    round_trip_p95: quantile(trips, 0.95),
    host_limited: wanted.video ? hostLimited(judged, seconds) : null,
    frames_left_out: wanted.video ? leftOut(judged, seconds) : null,
    loop_lag: Math.max(...judged.slice(1).map(({ lag }) => lag)),
  };
}

// Frames that were made but not encoded, where encoding all of them would have taken more time than
// there was. (On a fast computer what is left out is left out for the line.)
export function leftOut(samples, seconds) {
  const count = (sample) => ({
    made: sample.source.video?.frames ?? 0,
    encoded: sample.out.video?.framesEncoded ?? 0,
    busy: sample.out.video?.totalEncodeTime ?? 0,
  });
  const [first, last] = [count(samples[0]), count(samples.at(-1))];
  const made = last.made - first.made;
  const encoded = last.encoded - first.encoded;
  const eachTakes = (last.busy - first.busy) / encoded;
  return encoded > 0 && eachTakes * made > BUSY * seconds ? Math.max(0, made - encoded) : 0;
}

// Share of the time in which this computer, not the line, was the limit.
export function hostLimited(samples, seconds) {
  const first = samples[0];
  const last = samples.at(-1);
  const increase = (read) => (read(last) ?? 0) - (read(first) ?? 0);
  const lacked = increase((s) => s.out.video?.qualityLimitationDurations?.cpu) / seconds;
  const rate = increase((s) => s.source.video?.frames) / seconds;
  const decoding = increase((s) => s.in.video?.totalDecodeTime) / seconds;
  const slow = rate < SLOW_CAMERA ? 1 - rate / SLOW_CAMERA : 0;
  return Math.min(1, Math.max(0, lacked, slow, late(samples) / seconds, decoding > BUSY ? 1 : 0));
}

// Seconds by which this page took its samples late.
function late(samples) {
  const gaps = samples.slice(1).map((s, i) => s.at - samples[i].at);
  return gaps.reduce((sum, gap) => sum + Math.max(0, gap - LONGEST_GAP), 0);
}

function roundTrips(samples) {
  const trips = new Map();
  for (const { remote } of samples) {
    for (const entry of Object.values(remote)) {
      if (entry.roundTripTime > 0) trips.set(`${entry.id} ${entry.timestamp}`, entry.roundTripTime);
    }
  }
  return [...trips.values()].sort((a, b) => a - b);
}

function quantile(sorted, q) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null;
}

// What arrived of the hub's media in the given window. `end` is the last sample in which the
// stream still ran: what a player conceals after the end is not a loss.
export function seen(samples, final, hub) {
  const all = came(final.in.audio).packets;
  const during = samples.filter((s) => came(s.in.audio).packets < all);
  const end = during.at(-1) ?? final;
  const audio = stretch("audio", during, end, final, hub.audio_packets, hub.audio_window);
  const video = stretch("video", during, end, final, hub.video_packets, hub.video_window);
  return {
    datagrams_sent: null,
    datagrams_received: null,
    ...sound(audio),
    ...picture(video, hub.seconds),
    video_bits_per_second: video.rate,
    bits_per_second: video.rate + audio.rate,
  };
}

// One stream within its window: what was sent and lost, its rate, and how counters went on.
function stretch(kind, during, end, final, packets, window) {
  const begun = during.find((s) => came(s.in[kind]).packets > window) ?? end;
  const before = came(begun.in[kind]);
  const last = came(final.in[kind]);
  const whole = window === 0; // then the sender's count also shows what was lost at either end
  const sent = whole ? packets : packets > window ? last.packets - before.packets : 0;
  const lost = whole ? packets - (last.packets - last.lost) : last.lost - before.lost;
  const seconds = end.at - begun.at;
  const bytes = came(end.in[kind]).lineBytes - before.lineBytes;
  return {
    sent,
    lost: Math.min(sent, Math.max(0, lost)),
    seconds,
    rate: sent > 0 && seconds > 0 ? (bytes * 8) / seconds : 0,
    now: end.in[kind] ?? {},
    increase: (name) => (end.in[kind]?.[name] ?? 0) - (begun.in[kind]?.[name] ?? 0),
    samples: during.slice(during.indexOf(begun)),
    end,
  };
}

function sound({ sent: packets, lost, now, increase }) {
  const played = increase("totalSamplesReceived");
  const madeUp = increase("concealedSamples");
  const bursts = increase("concealmentEvents");
  const burst = (madeUp / SAMPLES_A_PACKET / bursts) * (1 - lost / packets);
  const emitted = increase("jitterBufferEmittedCount");
  return {
    audio_sent: packets,
    audio_lost: lost,
    audio_concealed: played > 0 ? Math.round((madeUp / played) * packets) : packets,
    audio_burst_ratio: bursts > 0 && lost > 0 ? Math.max(1, burst) : null,
    audio_play_out: emitted > 0 ? increase("jitterBufferDelay") / emitted : null,
    jitter_seconds: now.jitter ?? null,
    pdv_seconds: null,
  };
}

// Seconds of freezes within the window. A browser counts a freeze when it ends, so one that ended soon
// after the window began was mostly before it, while the rate was still too high for the line.
function frozen(samples) {
  const counted = (s) => s.in.video?.totalFreezesDuration ?? 0;
  return samples.slice(1).reduce((sum, s, i) => {
    const more = counted(s) - counted(samples[i]);
    return sum + Math.min(more, s.at - samples[0].at);
  }, 0);
}

const shown = (s) => s.in.video?.framesRendered ?? s.in.video?.framesDecoded ?? 0;

function picture({ sent: packets, lost, now, increase, samples, end }, seconds) {
  const first = samples.find((s) => shown(s) > 0);
  const frames = first ? shown(end) - shown(first) : 0;
  const seen = packets > 0 && frames > 0;
  // A freeze at the end is not yet in the counters.
  const newest = samples.find((s) => shown(s) === shown(end)) ?? end;
  const still = end.at - newest.at > 0.5 ? end.at - newest.at : 0;
  // Nor is one before the first picture.
  const wait = first ? first.at - samples[0].at : 0;
  const black = wait >= LATE_PICTURE ? wait : 0;
  return {
    video_sent: packets,
    video_lost: lost,
    video_missing: null,
    judged_seconds: seconds,
    frames_complete: seen ? increase("framesReceived") : 0,
    frames_per_second: seen ? frames / (end.at - first.at) : 0,
    freeze_count: seen ? increase("freezeCount") + (still ? 1 : 0) + (black ? 1 : 0) : 1,
    freeze_seconds: seen ? frozen(samples) + still + black : seconds,
    height: seen ? (now.frameHeight ?? 0) : 0,
  };
}
