# A session of Python's imaplib against the server at HOST:PORT of argv[1].
# Every surprise is an exception; the last line printed is "done".
import imaplib
import socket
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
user, password = sys.argv[2], sys.argv[3]


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def equal(got, want):
    assert got == want, (got, want)


m = imaplib.IMAP4(host, int(port))
assert "IDLE" in m.capabilities and "LITERAL+" in m.capabilities, m.capabilities
try:
    m.login(user, "wrong")
    raise AssertionError("a wrong password was accepted")
except imaplib.IMAP4.error as e:
    assert b"AUTHENTICATIONFAILED" in e.args[0], e.args
m.authenticate("PLAIN", lambda _: ("\0" + user + "\0" + password).encode())

equal(ok(m.list('""', "%"))[0], b'(\\HasNoChildren) "/" "INBOX"')
ok(m.create('"Entw&APw-rfe/2024"'))
equal(ok(m.list('"Entw&APw-rfe/"', "%")), [b'(\\HasNoChildren) "/" "Entw&APw-rfe/2024"'])
ok(m.subscribe("later"))
equal(ok(m.lsub('""', "later")), [b'(\\NonExistent) "/" "later"'])
ok(m.unsubscribe("later"))
equal(ok(m.namespace()), [b'(("" "/")) (("Other Users/" "/")) (("Shared/" "/"))'])

body = b"From: alice@example.test\r\nSubject: one\r\n\r\nhello\r\n.\r\n"
when = imaplib.Time2Internaldate(time.gmtime(837596665))
for flags in ("(\\Seen)", "(\\Flagged $Label1)", ""):
    data = ok(m.append("INBOX", flags, when, body))
    assert b"APPENDUID" in data[0], data
equal(ok(m.status("INBOX", "(MESSAGES UNSEEN UIDNEXT)")), [b'"INBOX" (MESSAGES 3 UNSEEN 2 UIDNEXT 4)'])

equal(ok(m.select("INBOX")), [b"3"])
ok(m.check())
data = ok(m.fetch("1", "(UID INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
equal(data[0][1], body)
assert b"UID 1 INTERNALDATE \"17-Jul-1996 09:44:25 +0000\"" in data[0][0], data
data = ok(m.fetch("2:3", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])"))
equal([d[1] for d in data if isinstance(d, tuple)], [b"Subject: one\r\n\r\n"] * 2)
ok(m.fetch("3", "(BODY[TEXT])"))
equal(ok(m.search(None, "UNSEEN")), [b"2"])
equal(ok(m.search("UTF-8", "SUBJECT", '"one"')), [b"1 2 3"])
equal(ok(m.uid("SEARCH", "UID", "2:*")), [b"2 3"])
ok(m.store("1", "+FLAGS", "(\\Deleted)"))
ok(m.copy("2", "Archive"))
equal(ok(m.expunge()), [b"1"])
data = ok(m.uid("FETCH", "1:*", "(FLAGS)"))
equal(len(data), 2)
ok(m.rename('"Entw&APw-rfe"', "Drafts2"))
ok(m.close())
ok(m.delete("Drafts2/2024"))
equal(m.select("Drafts2/2024")[0], "NO")
equal(ok(m.select("Archive", readonly=True)), [b"1"])
status, _ = m.logout()
equal(status, "BYE")
print("done")
