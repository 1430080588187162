// Package frame is the protocol between a client and the helper on a target:
// many independent calls over one pair of byte streams.
//
// # On the wire
//
// The helper writes [Magic] and then frames; the client writes frames. A login
// shell may print before the magic, never after it. A frame is
//
//	type    1 byte
//	stream  4 bytes, big-endian; chosen by the client, never used twice
//	length  4 bytes, big-endian; of the payload, at most [MaxPayload]
//	payload
//
// A call is a stream: the client opens it with a verb and a JSON request, both
// sides may send data on three channels (0 input, 1 output, 2 errors), the
// helper may send events (JSON), and closes the stream with "+" and a result
// (JSON), or "-" and an error (JSON). Results run to megabytes: nothing wraps
// them that would be encoded and decoded once more. The client may cancel; the helper still answers with the end.
//
// # Bounds
//
// Every channel of every stream has a window of [Window] bytes. Nobody sends
// more than the other side has granted, so a slow reader of one stream holds up
// neither other streams nor the memory of either side. A frame that breaks a
// rule ends the connection: the peer is broken or hostile.
//
// # Versions
//
// [Version] is part of the magic. A client that finds another version installs
// its own helper beside the other; the two never need to understand each other.
package frame

// Version of the protocol.
//
//	1  first
//	2  the end of a call is marked by a byte instead of wrapped in JSON
const Version = 2

// Magic is the first thing a helper writes. 0x7f is no text, so no banner of a
// login shell holds it by accident.
const Magic = "\x7fBOWLINE-HELPER/2\n"

// MaxPayload bounds a frame, in bytes: what a hostile peer can make us allocate
// at once.
const MaxPayload = 64 << 10

// MaxMessage bounds a request, event or result, in bytes. They travel as several
// frames where needed.
const MaxMessage = 256 << 20

// Window is what may be under way on one channel, in bytes. It fills 1 Gbit/s at
// 8 ms of round trip.
const Window = 1 << 20

// MaxStreams bounds the streams open at once.
const MaxStreams = 1024
