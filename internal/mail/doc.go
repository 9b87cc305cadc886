// Package mail sends the reports of opsbelt, and what is attached to them,
// through any SMTP server.
//
// A [Sender] is made of a [Config] whose zero value means the mail server of
// this machine, as cron's own mail does. It composes a [Message], asks the
// server how large a message may be, sends, retries what failed for a time,
// and keeps what cannot be sent in a spool directory until [Sender.Flush]
// succeeds. Every failure to send has the code exit.MailNotSent.
//
// Attachments are streamed: whatever their size, memory stays small. The
// session with the server is that of wneessen/go-mail. Its message writer is
// not used, because it holds an encoded attachment in memory before it writes
// the first byte of it; neither are its size handling (it ignores the limit
// that the server announces) and its time-out (one for the whole session,
// which a slow line with a large backup exceeds; here each reply has its own).
package mail
