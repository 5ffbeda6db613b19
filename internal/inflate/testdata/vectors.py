#!/usr/bin/env python3
"""Writes vectors.txt: what zlib's clients send, line by line. Each line of the
file is a name of the stream, the octets (hex) and their compressed form (hex),
flushed."""
import zlib

header = b"".join(b"X-Field-%d: some words that come again, and a number %d\r\n" % (i, i * i) for i in range(16))
said = [
    b"a NOOP\r\n",
    b"b SELECT INBOX\r\n",
    b"c UID FETCH 1:* (FLAGS UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (DATE FROM SUBJECT)])\r\n",
    b"d APPEND Sent {%d+}\r\n%s\r\n" % (len(header), header),
    b"e IDLE\r\n",
    b"DONE\r\n",
    b"f LOGOUT\r\n",
]
kinds = {"partial": zlib.Z_PARTIAL_FLUSH, "sync": zlib.Z_SYNC_FLUSH, "full": zlib.Z_FULL_FLUSH}
strategies = {"": zlib.Z_DEFAULT_STRATEGY, "fixed": zlib.Z_FIXED, "huffman": zlib.Z_HUFFMAN_ONLY}
with open("vectors.txt", "w") as out:
    for kind, flush in kinds.items():
        for level in (0, 1, 6, 9):
            for strategy, value in strategies.items():
                if kind != "partial" and (strategy or level not in (0, 6)):
                    continue
                c = zlib.compressobj(level, zlib.DEFLATED, -15, 8, value)
                for line in said:
                    packed = c.compress(line) + c.flush(flush)
                    print(f"{kind}{level}{strategy}", line.hex(), packed.hex(), file=out)
