// Whether this computer encodes and decodes the picture of a conference in time: a call from the page
// to itself, which no line limits, judged by the same figures as a test call.

import { isOneOf, startAt, supported, videoCodecs } from "./join-codecs.js";
import { hostLimited, sample } from "./join-stats.js";

const SECONDS = 6;
const SETTLE = 2; // of these seconds, left out because the start of a call is always busy
const CONNECT_TICKS = 40; // of a quarter of a second
const LEAST_RATE = 15; // frames a second that must be decoded

// `in_time`, `slow` or `not_tested`. `wanted` has width, height, video, codec and mostStalled.
// `tick()` resolves after a quarter of a second; `stopped()` says whether a test of the line needs the
// computer.
export async function judgeProcessor(wanted, { media, tick, stopped }) {
  const source = await media.start(wanted.width || 320, wanted.height || 180);
  const sender = new RTCPeerConnection();
  const receiver = new RTCPeerConnection();
  const screen = Object.assign(document.createElement("video"), { muted: true });
  try {
    await connect(sender, receiver, source.video, wanted, screen);
    const samples = await run(sender, receiver, tick, stopped);
    return samples ? verdict(samples, wanted) : "not_tested";
  } catch {
    return "not_tested";
  } finally {
    source.stop();
    screen.srcObject = null;
    sender.close();
    receiver.close();
  }
}

async function connect(sender, receiver, track, { video, codec }, screen) {
  const sendEncodings = [{ maxBitrate: video || 400000, maxFramerate: 30 }];
  const transceiver = sender.addTransceiver(track, { direction: "sendonly", sendEncodings });
  transceiver.setCodecPreferences(supported("video").filter((each) => isOneOf(each, videoCodecs(codec))));
  let done;
  const described = new Promise((resolve) => (done = resolve)); // only then candidates are accepted
  for (const [from, to] of [[sender, receiver], [receiver, sender]]) {
    from.onicecandidate = async ({ candidate }) => {
      await described;
      await to.addIceCandidate(candidate).catch(() => {});
    };
  }
  receiver.ontrack = ({ streams, track: came }) => {
    screen.srcObject = streams[0] ?? new MediaStream([came]);
    screen.play().catch(() => {});
  };
  await sender.setLocalDescription();
  await receiver.setRemoteDescription(sender.localDescription);
  await receiver.setLocalDescription();
  const { sdp } = receiver.localDescription;
  await sender.setRemoteDescription({ type: "answer", sdp: startAt(sdp, video) });
  done();
}

// Samples of a running call; null if it did not connect or had to stop.
async function run(sender, receiver, tick, stopped) {
  for (let ticks = 0; receiver.connectionState !== "connected"; ticks += 1) {
    if (ticks === CONNECT_TICKS || stopped()) return null;
    await tick();
  }
  const samples = [];
  const began = performance.now() / 1000;
  while (performance.now() / 1000 < began + SECONDS) {
    await tick();
    if (stopped() || document.hidden) return null;
    const one = await sample(sender);
    one.in = (await sample(receiver)).in;
    if (one.at > began + SETTLE) samples.push(one);
  }
  return samples;
}

function verdict(samples, { mostStalled }) {
  if (samples.length < 2) return "not_tested"; // too few to see a rate
  const [first, last] = [samples[0], samples.at(-1)];
  const seconds = last.at - first.at;
  const decoded = (one) => one.in.video?.framesDecoded ?? 0;
  if (!decoded(last)) return "not_tested";
  const limited = hostLimited(samples, seconds);
  const rate = (decoded(last) - decoded(first)) / seconds;
  return limited > mostStalled || rate < LEAST_RATE ? "slow" : "in_time";
}
