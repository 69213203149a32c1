// The page's end of the datagrams by which the hub measures latency (probes/latency/page.py): an
// unreliable data channel, on which everything is sent back at once. At the end it reports how late the
// page's thread was, which is part of the round trips.

import { LatenessSeries } from "./join-lateness.js";

const GATHERING = 3000;
const LONGEST = 900000; // of a series
const MOST_BYTES = 64;

export async function datagrams(channel, worker) {
  const peer = new RTCPeerConnection({ iceServers: [] });
  let lateness = null;
  try {
    const path = peer.createDataChannel("echo", { ordered: false, maxRetransmits: 0 });
    path.binaryType = "arraybuffer";
    path.onmessage = ({ data }) => {
      if (path.readyState === "open" && data.byteLength <= MOST_BYTES) path.send(data);
    };
    await peer.setLocalDescription();
    await gathered(peer);
    const offered = peer.localDescription.sdp.replace(/^a=candidate:\S+ \d tcp .*\r\n/gim, "");
    channel.say("offer", { sdp: offered, reports_lag: true });
    const { sdp } = await channel.hear("answer", 15000);
    await peer.setRemoteDescription({ type: "answer", sdp });
    lateness = new LatenessSeries(worker);
    await channel.hear("end", LONGEST);
    channel.say("lag", await Promise.race([lateness.end(), channel.over]));
    await channel.over;
  } finally {
    lateness?.end();
    peer.close();
  }
}

function gathered(peer) {
  return new Promise((resolve) => {
    const look = () => peer.iceGatheringState === "complete" && resolve();
    peer.onicegatheringstatechange = look;
    setTimeout(resolve, GATHERING);
    look();
  });
}
