// Frames on a stream: an unsigned varint of length, then the bytes.
export const framed = (data) => {
  const head = []
  let length = data.length
  while (length > 0x7f) {
    head.push((length & 0x7f) | 0x80)
    length >>>= 7
  }
  head.push(length)
  const frame = new Uint8Array(head.length + data.length)
  frame.set(head)
  frame.set(data, head.length)
  return frame
}

export async function * frames (stream) {
  let buffer = new Uint8Array(0)
  for await (const chunk of stream) {
    const more = chunk.subarray()
    const joined = new Uint8Array(buffer.length + more.length)
    joined.set(buffer)
    joined.set(more, buffer.length)
    buffer = joined
    for (let head = length(buffer); head && buffer.length >= head.end; head = length(buffer)) {
      yield buffer.slice(head.start, head.end)
      buffer = buffer.slice(head.end)
    }
  }
}

const length = (buffer) => {
  let value = 0
  for (let at = 0; at < Math.min(4, buffer.length); at++) {
    value |= (buffer[at] & 0x7f) << (7 * at)
    if (buffer[at] < 0x80) return { start: at + 1, end: at + 1 + value }
  }
  return null
}
