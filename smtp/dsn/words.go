package dsn

import "posthouse/internal/mail"

// words are what a status means to somebody who has never heard of one, and
// what they can do.
type words struct{ what, todo string }

// meanings go by subject and detail of RFC 3463 and its registry (RFC 5248,
// 7372, 7505, 8689); a detail of 0 stands for those of the subject that are not
// listed.
var meanings = map[[2]uint8]words{
	{1, 0}:  {"Something is wrong with this address.", "Compare it with one that you know to be right, and send the message again."},
	{1, 1}:  {"There is no such mailbox: the address may be misspelt, or closed.", "Compare it with one that you know to be right, and send the message again."},
	{1, 2}:  {"There is no such mail domain: what stands behind the @ may be misspelt, or is no longer in use.", "Compare it with one that you know to be right, and send the message again."},
	{1, 3}:  {"This is not an address: it is written wrongly.", "Correct it and send the message again."},
	{1, 6}:  {"The mailbox has moved, and nobody says where to.", "Ask the recipient in another way for the new address."},
	{1, 7}:  {"The recipient's server does not accept your address as a sender.", ""},
	{1, 8}:  {"The recipient's server finds that your own domain does not exist or takes no mail, and so accepts none from it.", "Whoever looks after your mail domain can mend that."},
	{1, 10}: {"This domain has said that it takes no mail at all.", "Ask the recipient in another way for an address that does."},
	{2, 0}:  {"The mailbox does not take the message.", ""},
	{2, 1}:  {"The mailbox is switched off.", "Try to reach the recipient in another way."},
	{2, 2}:  {"The mailbox is full.", "Tell the recipient in another way, or try again later."},
	{2, 3}:  {"The message is larger than this mailbox takes.", "Send it in parts, or put large attachments elsewhere and send a link."},
	{2, 4}:  {"The list could not be expanded.", ""},
	{3, 0}:  {"The recipient's server has trouble of its own.", ""},
	{3, 1}:  {"The recipient's server has no space left.", ""},
	{3, 2}:  {"The recipient's server takes no mail at the moment.", ""},
	{3, 3}:  {"The recipient's server cannot do what you asked for with this message.", "Send it without asking for that."},
	{3, 4}:  {"The message is larger than the recipient's server takes.", "Send it in parts, or put large attachments elsewhere and send a link."},
	{4, 0}:  {"The recipient's server could not be reached.", ""},
	{4, 1}:  {"The recipient's server does not answer.", ""},
	{4, 2}:  {"The connection to the recipient's server broke.", ""},
	{4, 3}:  {"The name service gave no answer on where mail for this domain goes.", ""},
	{4, 4}:  {"There is no way to the recipient's server: its domain does not say where mail goes.", ""},
	{4, 5}:  {"The recipient's server is overloaded.", ""},
	{4, 6}:  {"The message went round in a circle: the addresses it was forwarded to lead back to one another.", "Tell the recipient, or whoever looks after the address."},
	{4, 7}:  {"It was tried for as long as it may be, and never succeeded.", "Find out in another way whether the address is still in use."},
	{5, 0}:  {"The recipient's server did not understand the transmission.", ""},
	{5, 3}:  {"The message has more recipients than the server takes at once.", "Send it to fewer at a time."},
	{6, 0}:  {"The recipient's server cannot deal with the content of the message.", ""},
	{6, 1}:  {"The recipient's server does not take messages of this kind.", ""},
	{6, 3}:  {"The message would have to be converted for the recipient's server, and cannot be.", ""},
	{6, 7}:  {"The recipient's server does not take addresses or headers with letters beyond ASCII.", "Use an address that has only plain letters, for yourself too."},
	{7, 0}:  {"The recipient's server refuses the message by its rules.", "Its words below may say why."},
	{7, 1}:  {"The recipient's server refuses the message by its rules.", "Its words below may say why."},
	{7, 2}:  {"You may not write to this list.", ""},
	{7, 4}:  {"The recipient's server lacks a security feature that this message needs.", ""},
	{7, 5}:  {"The security that this message needs could not be had on the way to the recipient's server.", ""},
	{7, 10}: {"The encryption that this message or its recipient asks for could not be had.", ""},
	{7, 17}: {"The mailbox has changed hands since you last wrote to it.", "Ask the recipient in another way for the new address."},
	{7, 20}: {"The recipient's server found no valid signature (DKIM) on the message.", "Whoever looks after your mail domain can mend that."},
	{7, 23}: {"The recipient's server says that your domain does not let this server send for it (SPF).", "Whoever looks after your mail domain can mend that."},
	{7, 25}: {"The recipient's server refuses ours because of its name in the DNS.", "Whoever runs this server can mend that."},
	{7, 26}: {"The recipient's server could not verify that the message is from you.", "Whoever looks after your mail domain can mend that."},
	{7, 28}: {"The recipient's server finds that too much mail comes from here.", ""},
	{7, 30}: {"You asked that this message travel encrypted all the way (REQUIRETLS), and the recipient's server does not promise that.", "Send it without that demand, if it may be read on the way."},
}

// explain puts a status into words.
func explain(k Kind, s mail.Enhanced) (what, todo string) {
	w, ok := meanings[[2]uint8{s[1], s[2]}]
	if !ok {
		w, ok = meanings[[2]uint8{s[1], 0}]
	}
	switch {
	case !ok && k == Delayed:
		w.what = "It could not be delivered for now."
	case !ok:
		w.what = "It was refused."
	}
	if k == Delayed { // there is nothing to do yet
		w.todo = ""
	}
	return w.what, w.todo
}
