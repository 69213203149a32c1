// The office's side of a conference test in the browser: it makes the offer, sends and receives
// media, and reports statistics (the signalling of probes/conference/agent.py).

import { isOneOf, startAt, supported, videoCodecs } from "./join-codecs.js";
import { account, came, sample, seen, sent } from "./join-stats.js";

const CONNECT_SECONDS = 15;
const SILENCE_SECONDS = 3.7; // looked at four times a second: known within 4
const WINDOW = 0.4; // share of the call that is judged at least
const DRAIN_MS = 1200;
const KEEP_SIZE_MS = 1000;
const MOST_SECONDS = 3600;
const HOST_TICKS = 12; // of a quarter of a second, to gather addresses
const RELAY_TICKS = 32;

class CallFailed extends Error {
  constructor(cause, detail) {
    super(detail);
    this.cause = cause;
  }
}

// `tick()` returns a promise that resolves after a quarter of a second, with the longest lag of the
// computer's timers in it, in seconds.
export async function conference(channel, params, { media, screen, tick }) {
  const call = new Call(channel, params, tick);
  try {
    await call.run(media, screen);
  } catch (error) {
    const cause = error.cause ?? "internal_error";
    if (!channel.ended) channel.say("failed", { cause, detail: String(error.message) });
  } finally {
    call.close();
    screen.srcObject = null;
    await channel.untilEnded(2000);
    channel.close("done");
  }
}

class Call {
  constructor(channel, params, tick) {
    this.channel = channel;
    this.wanted = params;
    this.tick = tick;
    this.seconds = Math.min(params.seconds, MOST_SECONDS);
    this.samples = [];
    this.setup = null;
    this.advice = null;
    this.hidden = document.hidden;
    const ways = params.ice
      ? { iceServers: params.ice, iceTransportPolicy: "relay" }
      : { iceServers: [] };
    this.peer = new RTCPeerConnection({ bundlePolicy: "max-bundle", ...ways });
  }

  async run(media, screen) {
    const { width, height } = this.wanted;
    this.source = await media.start(width || 320, height || 180);
    const begun = performance.now();
    this.#show(screen, () => (this.setup ??= (performance.now() - begun) / 1000));
    await this.#describe();
    await this.#connect();
    await this.#talk();
    await this.#report();
    await this.channel.untilEnded(30000);
  }

  #show(screen, first) {
    const stream = new MediaStream();
    screen.srcObject = stream;
    this.peer.ontrack = ({ track }) => {
      stream.addTrack(track);
      if (track.muted) track.onunmute = first;
      else first();
    };
  }

  async #describe() {
    const { video } = this.wanted;
    const encoding = video ? { maxBitrate: video, maxFramerate: 30 } : { active: false };
    this.#send(this.source.audio, [{}], ["audio/opus"]);
    this.#send(this.source.video, [encoding], videoCodecs(this.wanted.codec));
    await this.#prefer("maintain-resolution");
    await this.peer.setLocalDescription();
    await this.#gathered();
    // The hub accepts only UDP.
    const sdp = this.peer.localDescription.sdp.replace(/^a=candidate:\S+ \d tcp .*\r\n/gim, "");
    this.channel.say("offer", { client: "browser", sdp });
    const answer = await this.channel.hear("answer", 10000);
    await this.peer.setRemoteDescription({ type: "answer", sdp: startAt(answer.sdp, video) });
  }

  #send(track, sendEncodings, codecs) {
    const transceiver = this.peer.addTransceiver(track, { direction: "sendrecv", sendEncodings });
    transceiver.setCodecPreferences(supported(track.kind).filter((codec) => isOneOf(codec, codecs)));
  }

  // Chromium starts with smaller pictures than the rate allows, and takes half a minute to enlarge
  // them. So keep their size at first, and then adapt as in any call.
  async #prefer(degradationPreference) {
    const sender = this.peer.getSenders().find(({ track }) => track.kind === "video");
    await sender.setParameters({ ...sender.getParameters(), degradationPreference });
  }

  // Firefox has a least rate for each size of picture, and goes below it for no REMB. So there the
  // page makes the picture smaller where the hub says so. (In Firefox `setParameters` would restart
  // what comes in, too.)
  #obey(advice) {
    if (!advice || this.#adapts) return;
    this.advice = advice;
    const height = Math.min(advice.height, this.wanted.height);
    this.source.resize(Math.round((this.wanted.width * height) / this.wanted.height), height);
  }

  // Chromium says what limits it, as it adapts.
  get #adapts() {
    const video = this.samples.at(-1)?.out.video;
    return !video || "qualityLimitationReason" in video;
  }

  async #gathered() {
    const ticks = this.wanted.ice ? RELAY_TICKS : HOST_TICKS;
    for (let i = 0; i < ticks && this.peer.iceGatheringState !== "complete"; i += 1) {
      await this.tick();
    }
    const relayed = this.peer.localDescription.sdp.includes(" typ relay ");
    if (this.wanted.ice && !relayed) throw new CallFailed("udp_blocked", "no relay was reached");
  }

  async #connect() {
    const deadline = performance.now() + CONNECT_SECONDS * 1000;
    while (this.setup === null) {
      this.channel.check();
      const ice = this.peer.iceConnectionState;
      if (performance.now() > deadline || ice === "failed") {
        const there = ice === "connected" || ice === "completed";
        if (!there) throw new CallFailed("udp_blocked", "no datagram came through");
        const secured = this.peer.connectionState === "connected";
        throw new CallFailed(secured ? "no_media" : "dtls_failed", "connected, but no media came");
      }
      await this.tick();
    }
  }

  // Sends for the given time, and reports four times a second what arrived.
  async #talk() {
    const begun = performance.now();
    let heard = begun;
    let bytes = 0;
    let adapting = false;
    while (performance.now() - begun < this.seconds * 1000) {
      const lag = await this.tick();
      this.channel.check();
      this.hidden ||= document.hidden;
      if (!adapting && this.#adapts && performance.now() - begun > KEEP_SIZE_MS) {
        adapting = true;
        await this.#prefer("maintain-framerate");
      }
      const now = await this.#sample(lag);
      this.#obey(this.channel.newest("advice"));
      if (now.in.audio || now.in.video) this.channel.say("account", account(now));
      const all = came(now.in.audio).lineBytes + came(now.in.video).lineBytes;
      if (all > bytes || this.channel.has("sent")) heard = performance.now();
      bytes = all;
      if (performance.now() - heard > SILENCE_SECONDS * 1000) {
        throw new CallFailed("interrupted", `no media came for ${SILENCE_SECONDS} s`);
      }
    }
  }

  async #sample(lag = 0) {
    const now = { ...(await sample(this.peer)), lag };
    this.samples.push(now);
    return now;
  }

  async #report() {
    // A picture that freezes uncounted would be graded as one that does not.
    const video = this.samples.at(-1)?.in.video;
    if (video?.framesDecoded && !("freezeCount" in video)) {
      throw new CallFailed("not_configured", "this browser does not count frozen pictures");
    }
    const least = Math.min(this.seconds, Math.max(3, WINDOW * this.seconds));
    const ours = sent(this.samples, this.wanted, least, this.advice);
    await Promise.all(this.peer.getSenders().map((sender) => sender.replaceTrack(null)));
    this.channel.say("sent", {
      ...ours,
      setup_seconds: this.setup,
      camera: this.source.camera,
      microphone: this.source.microphone,
      silent: this.source.silent,
      hidden: this.hidden,
    });
    const theirs = await this.#hubFinished();
    await new Promise((resolve) => setTimeout(resolve, DRAIN_MS));
    this.channel.say("seen", seen(this.samples, await sample(this.peer), theirs));
  }

  // The hub may send for a while longer; keep sampling what arrives.
  async #hubFinished() {
    const theirs = this.channel.hear("sent", (2 * this.seconds + 20) * 1000);
    while (!this.channel.has("sent")) {
      this.channel.check();
      const now = await this.#sample();
      this.channel.say("account", account(now));
      await Promise.race([this.tick(), theirs]);
    }
    return theirs;
  }

  close() {
    this.source?.stop();
    this.peer.close();
  }
}
