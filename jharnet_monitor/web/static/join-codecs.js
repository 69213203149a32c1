// The codecs of a call, and the rate at which it starts.

// All codecs that this browser can receive.
export function supported(kind) {
  return RTCRtpReceiver.getCapabilities(kind).codecs;
}

// H.264 as the hub sends it: constrained baseline, packetization mode 1.
export function isOneOf({ mimeType, sdpFmtpLine = "" }, names) {
  const ours = sdpFmtpLine.includes("packetization-mode=1") && sdpFmtpLine.includes("42e01f");
  return names.includes(mimeType) && (mimeType !== "video/H264" || ours);
}

// The codec that the hub asks for, or VP8 in a browser built without it.
export function videoCodecs(wanted) {
  const preferred = ["video/H264", "video/rtx"];
  const available = supported("video").some((codec) => isOneOf(codec, preferred.slice(0, 1)));
  return wanted === "h264" && available ? preferred : ["video/VP8", "video/rtx"];
}

// Start at the wanted rate, as the hub does, instead of Chromium's 300 kbit/s, so that a link that
// cannot carry it shows at once.
export function startAt(sdp, bitsPerSecond) {
  const kilobits = Math.round(bitsPerSecond / 1000);
  if (!kilobits) return sdp;
  const [, type] = sdp.match(/^a=rtpmap:(\d+) (?:VP8|H264)\/90000/im) ?? [];
  const start = `x-google-start-bitrate=${kilobits}`;
  const has = new RegExp(`^a=fmtp:${type} .*`, "m");
  if (has.test(sdp)) return sdp.replace(has, (line) => `${line};${start}`);
  return sdp.replace(/^a=rtpmap:\d+ VP8\/90000\r\n/im, `$&a=fmtp:${type} ${start}\r\n`);
}
