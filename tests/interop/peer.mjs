// A peer of the market in JavaScript: gossip, envelopes and requests, written from docs/protocol.md alone.
// Usage: node peer.mjs <multiaddr> <topic> <network id in hex>. Reports on standard output, one JSON object a line.
import './polyfill.mjs'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { openEnvelope, sealEnvelope } from './envelope.mjs'
import { frames, framed } from './framing.mjs'

const RPC = '/neugrid/rpc/1'
const PEERS = '/neugrid/peers/1'
const OFFERS = 1
const [address, topic, network] = process.argv.slice(2)
const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')
const text = (bytes) => new TextDecoder().decode(bytes)
const bytes = (string) => new TextEncoder().encode(string)

const privateKey = await generateKeyPair('secp256k1')
const node = await createLibp2p({
  privateKey,
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: { identify: identify(), pubsub: gossipsub() }
})

node.services.pubsub.addEventListener('message', ({ detail }) => {
  if (detail.topic === topic) say({ heard: openEnvelope(detail.data, network, Date.now()) })
})
await node.handle(RPC, async (stream, connection) => {
  for await (const request of frames(stream)) stream.send(framed(bytes(`javascript heard ${text(request)}`)))
})

const connection = await node.dial(multiaddr(address))
node.services.pubsub.subscribe(topic)
say({ ready: node.peerId.toString(), addresses: node.getMultiaddrs().map(String) })

const ask = async (protocol, question) => {
  const stream = await connection.newStream(protocol)
  stream.send(framed(question))
  for await (const answer of frames(stream)) {
    await stream.close()
    return answer
  }
}
say({ answer: text(await ask(RPC, bytes('hello from javascript'))) })
say({ large: (await ask(RPC, new Uint8Array(1024 * 1024))).length })
say({ peers: JSON.parse(text(await ask(PEERS, bytes(JSON.stringify(node.getMultiaddrs().map(String)))))) })

// Publishing before the other side's subscription has come is an error in js-libp2p, so wait for it.
while (node.services.pubsub.getSubscribers(topic).length === 0) await new Promise((resolve) => setTimeout(resolve, 20))
const payload = bytes('{"text":"said in javascript"}')
await node.services.pubsub.publish(topic, sealEnvelope(privateKey.raw, network, OFFERS, payload, 1n, Date.now(), 60_000))
say({ published: true })

process.stdin.on('end', async () => {
  await node.stop()
  process.exit(0)
})
process.stdin.resume()
