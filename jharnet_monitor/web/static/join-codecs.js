// The codecs of a call, and the rate at which it starts.

export function known(kind) {
  return RTCRtpReceiver.getCapabilities(kind).codecs;
}

// H.264 as the hub sends it: constrained baseline, packetization mode 1.
export function oneOf({ mimeType, sdpFmtpLine = "" }, names) {
  const ours = sdpFmtpLine.includes("packetization-mode=1") && sdpFmtpLine.includes("42e01f");
  return names.includes(mimeType) && (mimeType !== "video/H264" || ours);
}

// The codec that the hub asks for, or VP8 in a browser built without it.
export function videoCodecs(wanted) {
  const wished = ["video/H264", "video/rtx"];
  const there = known("video").some((codec) => oneOf(codec, wished.slice(0, 1)));
  return wanted === "h264" && there ? wished : ["video/VP8", "video/rtx"];
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
