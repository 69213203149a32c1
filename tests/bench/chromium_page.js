// One end of a call between two Chromiums. The SDP is carried by the benchmark; all candidates
// are gathered first. Every half second the statistics of what arrives are noted.
const call = {samples: [], series: []};

async function open_call() {
  const connection = new RTCPeerConnection();
  call.connection = connection;
  setInterval(follow, 1000);
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: {echoCancellation: false, noiseSuppression: false, autoGainControl: false},
    video: {width: 1280, height: 720, frameRate: 30},
  });
  for (const track of stream.getTracks()) connection.addTrack(track, stream);
  connection.ontrack = ({track}) => {
    call[track.kind] = connection.getReceivers().find((r) => r.track === track);
    if (track.kind !== 'audio') return;
    // Sound is only decoded if somebody listens; a picture is decoded all the same.
    call.element = new Audio();
    call.element.srcObject = new MediaStream([track]);
    call.element.play();
  };
}

// VP8 with retransmission, and nothing else: no forward error correction beside it.
function prefer_vp8() {
  const {codecs} = RTCRtpReceiver.getCapabilities('video');
  const wanted = codecs.filter(({mimeType}) => /^video\/(VP8|rtx)$/i.test(mimeType));
  for (const transceiver of call.connection.getTransceivers()) {
    if (transceiver.receiver.track.kind === 'video') transceiver.setCodecPreferences(wanted);
  }
}

async function limit_rate() {
  for (const sender of call.connection.getSenders()) {
    if (sender.track.kind !== 'video') continue;
    const parameters = sender.getParameters();
    parameters.degradationPreference = 'maintain-framerate';
    parameters.encodings[0].maxBitrate = 1_700_000;
    await sender.setParameters(parameters);
  }
}

async function described() {
  const connection = call.connection;
  while (connection.iceGatheringState !== 'complete') await new Promise((r) => setTimeout(r, 20));
  return connection.localDescription.sdp;
}

async function make_offer() {
  await open_call();
  prefer_vp8();
  await call.connection.setLocalDescription();
  return described();
}

async function make_answer(sdp) {
  await open_call();
  await call.connection.setRemoteDescription({type: 'offer', sdp});
  prefer_vp8();
  await call.connection.setLocalDescription();
  await limit_rate();
  return described();
}

async function accept(sdp) {
  await call.connection.setRemoteDescription({type: 'answer', sdp});
  await limit_rate();
}

async function note() {
  const sample = {at: performance.now() / 1000};
  for (const kind of ['audio', 'video']) {
    if (!call[kind]) return;
    for (const entry of (await call[kind].getStats()).values()) {
      if (entry.type === 'inbound-rtp') sample[kind] = entry;
    }
  }
  call.samples.push(sample);
}

// Once a second from the beginning: how the client adapts. The rows go beside the truth, for those
// who model it.
const SERIES = {
  'inbound-rtp/video': ['bytesReceived', 'headerBytesReceived', 'retransmittedBytesReceived',
                        'framesDecoded', 'frameHeight', 'totalFreezesDuration', 'packetsLost',
                        'nackCount', 'pliCount', 'jitterBufferDelay', 'jitterBufferEmittedCount',
                        'keyFramesDecoded'],
  'inbound-rtp/audio': ['concealedSamples', 'totalSamplesReceived', 'packetsReceived',
                        'packetsLost', 'fecPacketsReceived', 'jitterBufferDelay',
                        'jitterBufferEmittedCount'],
  'outbound-rtp/video': ['targetBitrate', 'bytesSent', 'headerBytesSent',
                         'retransmittedBytesSent', 'framesEncoded', 'frameHeight', 'qpSum',
                         'keyFramesEncoded', 'totalEncodeTime', 'qualityLimitationReason'],
  'outbound-rtp/audio': ['bytesSent', 'headerBytesSent', 'targetBitrate'],
  'candidate-pair/': ['availableOutgoingBitrate', 'currentRoundTripTime', 'bytesSent',
                      'bytesReceived'],
};

async function follow() {
  const row = {at: performance.now() / 1000};
  for (const entry of (await call.connection.getStats()).values()) {
    const name = `${entry.type}/${entry.kind ?? ''}`;
    if (!SERIES[name] || (entry.type === 'candidate-pair' && !entry.nominated)) continue;
    for (const key of SERIES[name]) row[`${name}.${key}`] = entry[key] ?? null;
  }
  call.series.push(row);
}

// Frames that the camera gave so far: fewer than 30 a second, and this computer was too slow.
async function captured() {
  for (const entry of (await call.connection.getStats()).values()) {
    if (entry.type === 'media-source' && entry.kind === 'video') {
      return {at: performance.now() / 1000, frames: entry.frames ?? null};
    }
  }
  return null;
}

async function watch() {
  call.samples = [];
  call.captured = await captured();
  note();
  call.timer = setInterval(note, 500);
}

async function watched() {
  clearInterval(call.timer);
  await note();
  const keep = {
    audio: ['concealedSamples', 'totalSamplesReceived', 'packetsReceived', 'packetsLost',
            'insertedSamplesForDeceleration', 'jitterBufferDelay', 'jitterBufferEmittedCount'],
    video: ['framesDecoded', 'framesDropped', 'frameHeight', 'bytesReceived', 'headerBytesReceived',
            'retransmittedBytesReceived', 'fecBytesReceived', 'freezeCount',
            'totalFreezesDuration', 'packetsReceived', 'packetsLost', 'retransmittedPacketsReceived',
            'jitterBufferDelay', 'jitterBufferEmittedCount', 'nackCount', 'pliCount',
            'qpSum'],
  };
  const samples = call.samples.map((sample) => {
    const row = {at: sample.at};
    for (const kind of ['audio', 'video']) {
      for (const name of keep[kind]) row[`${kind}.${name}`] = sample[kind]?.[name] ?? null;
    }
    return row;
  });
  const [before, after] = [call.captured, await captured()];
  const sender = {
    captured: before && after ? (after.frames - before.frames) / (after.at - before.at) : null,
  };
  for (const entry of (await call.connection.getStats()).values()) {
    if (entry.type === 'outbound-rtp' && entry.kind === 'video') {
      sender.cpu_limited = entry.qualityLimitationDurations?.cpu ?? null;
      sender.codec = entry.codecId;
      sender.height = entry.frameHeight ?? null;
    }
    if (entry.type === 'candidate-pair' && entry.nominated) {
      sender.available = entry.availableOutgoingBitrate ?? null;
      sender.round_trip = entry.currentRoundTripTime ?? null;
    }
  }
  return {state: call.connection.connectionState, samples, sender, series: call.series};
}
