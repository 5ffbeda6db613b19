"""Everything that Python's imaplib offers, against a mailbox that has messages."""
import imaplib
import ssl
import sys

host, port, user, password, ca, expected = sys.argv[1:7]
M = imaplib.IMAP4_SSL(host, int(port), ssl_context=ssl.create_default_context(cafile=ca))


def ok(answer, what=""):
    status, data = answer
    assert status == "OK", (what, status, data)
    return data


ok(M.login(user, password))
ok(M.capability())
ok(M.noop())
ok(M.namespace())
ok(M.list())
ok(M.lsub())
ok(M.xatom("ID", "NIL"))
ok(M.enable("CONDSTORE"))
count = int(ok(M.select("INBOX"))[0])
assert count == int(expected), count
ok(M.check())
numbers = ok(M.search(None, "ALL"))[0].split()
assert len(numbers) == count, (len(numbers), count)
M.literal = "grüße".encode()
assert len(ok(M.search("UTF-8", "SUBJECT"))[0].split()) == count
uids = ok(M.uid("SEARCH", None, "ALL"))[0].split()
assert len(uids) == count
flags = ok(M.fetch("1:*", "(UID FLAGS RFC822.SIZE)"))
assert len(flags) == count, (len(flags), count)
headers = ok(M.uid("FETCH", "1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT X-MARK)])"))
assert len([h for h in headers if isinstance(h, tuple)]) == count
body = ok(M.fetch(numbers[-1], "(BODY.PEEK[])"))[0][1]
assert b"X-Mark: " in body
assert ok(M.fetch(numbers[-1], "(BODY.PEEK[]<0.10>)"))[0][1] == body[:10]
assert len(ok(M.sort("(REVERSE DATE SUBJECT)", "UTF-8", "ALL"))[0].split()) == count
assert len(ok(M.uid("SORT", "(ARRIVAL)", "UTF-8", "ALL"))[0].split()) == count
ok(M.thread("REFERENCES", "UTF-8", "ALL"))
ok(M.uid("THREAD", "ORDEREDSUBJECT", "UTF-8", "ALL"))
ok(M.status("INBOX", "(MESSAGES UIDNEXT UIDVALIDITY UNSEEN)"))
roots, quotas = ok(M.getquotaroot("INBOX"))
_, _, root = roots[0].partition(b" ")
if root:  # without a limit there is none
    ok(M.getquota(root.decode()))
ok(M.getacl("INBOX"))
ok(M.myrights("INBOX"))

name = '"Entw&APw-rfe 20k"'
ok(M.create(name))
ok(M.subscribe(name))
message = b"From: a@example.org\r\nSubject: by imaplib\r\n\r\nhello\r\n"
ok(M.append(name, r"(\Seen $label1)", imaplib.Time2Internaldate(1700000000), message))
ok(M.append(name, None, None, message))
assert ok(M.select(name))[0] == b"2"
ok(M.store("1", "+FLAGS", r"(\Flagged)"))
ok(M.uid("STORE", "1", "-FLAGS", r"(\Flagged)"))
ok(M.copy("1:2", "Trash"))
ok(M.uid("COPY", "1", "Trash"))
ok(M.uid("MOVE", "1", "Trash"))
ok(M.store("1", "+FLAGS", r"(\Deleted)"))
assert ok(M.expunge())[-1] == b"1"  # the one of MOVE stands before it
ok(M.close())
ok(M.rename(name, '"R&-D 20k"'))
ok(M.unsubscribe(name))
ok(M.delete('"R&-D 20k"'))
ok(M.select("Trash", readonly=True))
ok(M.recent())
ok(M.unselect())
if hasattr(M, "idle"):
    ok(M.select("INBOX"))
    with M.idle(duration=1) as idler:
        for _ in idler:
            pass
assert M.logout()[0] == "BYE"
print("imaplib: all of it, %d messages" % count)
