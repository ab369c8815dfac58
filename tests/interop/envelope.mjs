// The signed envelope: magic "NG1" | network 8 | kind 1 | sender 20 | seq 8 | issued_at 8 | expires_at 8 | length 4 |
// payload | signature r || s || v 65. Numbers are big-endian, times in milliseconds.
import { secp256k1 } from '@noble/curves/secp256k1.js'
import { keccak_256 } from '@noble/hashes/sha3.js'
import { bytesToHex, concatBytes, hexToBytes } from '@noble/hashes/utils.js'

const HEADER = 60
const SIGNATURE = 65
const PREFIX = new TextEncoder().encode('neugrid message v1\n')
const MAGIC = '4e4731'

const addressOf = (point) => '0x' + bytesToHex(keccak_256(point.toBytes(false).slice(1)).slice(12))
const digestOf = (body) => keccak_256(concatBytes(PREFIX, body))

export const openEnvelope = (data, network, now) => {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const length = view.getUint32(56)
  const header = {
    kind: view.getUint8(11),
    sender: '0x' + bytesToHex(data.slice(12, 32)),
    seq: Number(view.getBigUint64(32)),
    issuedAt: Number(view.getBigUint64(40)),
    expiresAt: Number(view.getBigUint64(48))
  }
  if (bytesToHex(data.slice(0, 3)) !== MAGIC) throw new Error('no magic')
  if (bytesToHex(data.slice(3, 11)) !== network) throw new Error('another network')
  if (data.length !== HEADER + length + SIGNATURE) throw new Error('the length does not fit')
  if (now < header.issuedAt - 5000 || now >= header.expiresAt) throw new Error('stale')
  const body = data.slice(0, HEADER + length)
  const signature = data.slice(HEADER + length)
  const signer = secp256k1.Signature.fromBytes(signature.slice(0, 64), 'compact').addRecoveryBit(signature[64] - 27)
  if (addressOf(signer.recoverPublicKey(digestOf(body))) !== header.sender) throw new Error('signed by another')
  return { ...header, payload: JSON.parse(new TextDecoder().decode(data.slice(HEADER, HEADER + length))) }
}

export const sealEnvelope = (secret, network, kind, payload, seq, now, ttl) => {
  const head = new Uint8Array(HEADER)
  const view = new DataView(head.buffer)
  head.set(hexToBytes(MAGIC))
  head.set(hexToBytes(network), 3)
  view.setUint8(11, kind)
  head.set(hexToBytes(addressOf(secp256k1.Point.fromBytes(secp256k1.getPublicKey(secret))).slice(2)), 12)
  view.setBigUint64(32, seq)
  view.setBigUint64(40, BigInt(now))
  view.setBigUint64(48, BigInt(now + ttl))
  view.setUint32(56, payload.length)
  const body = concatBytes(head, payload)
  const signed = secp256k1.sign(digestOf(body), secret, { prehash: false, format: 'recovered' })
  return concatBytes(body, signed.slice(1), Uint8Array.of(27 + signed[0]))
}
