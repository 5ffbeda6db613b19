# Verifies every DKIM-Signature of the message on standard input with Python's
# implementation. The argument is a file with a JSON object of TXT records by
# name, with final dots. Prints one line for each signature.
import json, sys
import dkim

with open(sys.argv[1]) as f:
    records = {name.lower(): text.encode() for name, text in json.load(f).items()}


def txt(name, timeout=5):
    return records.get(name.decode().lower() if isinstance(name, bytes) else name.lower())


message = sys.stdin.buffer.read()
v = dkim.DKIM(message)
count = sum(1 for name, _ in v.headers if name.lower() == b"dkim-signature")
for i in range(count):
    v = dkim.DKIM(message)
    try:
        ok = v.verify(idx=i, dnsfunc=txt)
    except dkim.DKIMException as e:
        ok, v.signature_fields = False, {b"a": str(e).encode()}
    print("pass" if ok else "fail", v.signature_fields.get(b"a", b"?").decode(), v.signature_fields.get(b"d", b"?").decode())
