// The page's end of the datagrams by which the hub measures latency (probes/latency/page.py): an
// unreliable data channel, on which everything is sent back at once.

const GATHERING = 3000;
const MOST_BYTES = 64;

export async function datagrams(channel) {
  const peer = new RTCPeerConnection({ iceServers: [] });
  try {
    const path = peer.createDataChannel("echo", { ordered: false, maxRetransmits: 0 });
    path.binaryType = "arraybuffer";
    path.onmessage = ({ data }) => {
      if (path.readyState === "open" && data.byteLength <= MOST_BYTES) path.send(data);
    };
    await peer.setLocalDescription();
    await gathered(peer);
    channel.say("offer", { sdp: peer.localDescription.sdp.replace(/^a=candidate:\S+ \d tcp .*\r\n/gim, "") });
    const { sdp } = await channel.hear("answer", 15000);
    await peer.setRemoteDescription({ type: "answer", sdp });
    await channel.over;
  } finally {
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
