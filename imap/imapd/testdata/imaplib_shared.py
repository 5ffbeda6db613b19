# Two sessions of Python's imaplib against the server at HOST:PORT of argv[1]:
# one account shares a mailbox with another. Every surprise is an exception; the
# last line printed is "done".
import imaplib
import sys

host, port = sys.argv[1].rsplit(":", 1)
alice, bob, password = sys.argv[2], sys.argv[3], sys.argv[4]
work = '"Other Users/' + alice + '/Work"'


def session(user):
    m = imaplib.IMAP4(host, int(port))
    m.login(user, password)
    return m


def ok(answer):
    status, data = answer
    assert status == "OK", answer
    return data


def no(answer, code):
    status, data = answer
    assert status == "NO" and code in data[0], answer


def equal(got, want):
    assert got == want, (got, want)


a, b = session(alice), session(bob)
ok(a.create("Work"))
for n in range(5):
    ok(a.append("Work", None, None, b"Subject: %d\r\n\r\nText %d\r\n" % (n, n)))
no(b.select(work), b"NONEXISTENT")

ok(a.setacl("Work", bob, "lrswi"))
equal(ok(a.getacl("Work")), [b'"Work" %s lrswipkxteacd %s lrswi' % (alice.encode(), bob.encode())])
equal(ok(b.myrights(work)), [work.encode() + b" lrswi"])
equal(ok(b.list('"Other Users/"', "*"))[-1], b'(\\HasNoChildren) "/" ' + work.encode())
equal(ok(b.select(work)), [b"5"])
ok(b.store("1:2", "+FLAGS", "(\\Seen \\Deleted)"))
equal(ok(b.fetch("1:3", "(FLAGS)")), [b"1 (FLAGS (\\Seen))", b"2 (FLAGS (\\Seen))", b"3 (FLAGS ())"])
no(b.expunge(), b"NOPERM")
ok(b.copy("1:5", "INBOX"))
equal(ok(b.status("INBOX", "(MESSAGES UNSEEN)")), [b'"INBOX" (MESSAGES 5 UNSEEN 3)'])
ok(b.append(work, "(\\Seen)", None, b"Subject: bob's\r\n\r\n"))
equal(ok(a.status("Work", "(MESSAGES UNSEEN)")), [b'"Work" (MESSAGES 6 UNSEEN 3)'])
no(b.setacl(work, bob, "a"), b"NOPERM")

ok(a.deleteacl("Work", bob))
try:
    b.noop(), b.fetch("1", "(FLAGS)")
    raise AssertionError("rights that were withdrawn still hold")
except imaplib.IMAP4.abort as e:
    pass
b = session(bob)
no(b.select(work), b"NONEXISTENT")
a.logout(), b.logout()
print("done")
