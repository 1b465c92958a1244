//! A sender of marked messages, and a receiver that checks them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::rc::Rc;

use hark_harness::envelope::error_code;

use crate::measure::checker::{Checker, SentLog, Violations};
use crate::measure::run::Run;
use crate::measure::scanner::Marker;
use crate::options::SendOptions;
use crate::sockets::connection::{FrameHandler, SocketWriter};

/// The target of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// The user with this id.
    User(i64),
    /// The group with this id.
    Group(i64),
}

/// The messages of one sender into one conversation.
pub(crate) struct MessageStream {
    /// The conversation, numbered by the load.
    pub(crate) conversation: u32,
    /// This stream, numbered by the load.
    pub(crate) number: u32,
    pub(crate) sent: SentLog,
    target: Target,
    options: SendOptions,
}

impl MessageStream {
    pub(crate) fn new(conversation: u32, number: u32, target: Target, options: SendOptions) -> Self {
        Self { conversation, number, sent: SentLog::default(), target, options }
    }

    /// Writes the request that sends the next message into `text`, and returns the message's number. `due` is the time
    /// when it is due, in nanoseconds since the run began; `id` makes the request's id from the number.
    pub(crate) fn write(&mut self, due: u64, id: impl FnOnce(u64) -> u64, text: &mut String) -> u64 {
        let number = self.sent.issue();
        let (frame_type, key, target) = match self.target {
            Target::User(user) => ("privateMessage", "receiverId", user),
            Target::Group(group) => ("messageInGroup", "groupId", group),
        };
        text.clear();
        let written = write!(text, r#"{{"type":"{frame_type}","params":{{"{key}":{target},"content":""#);
        let marker = Marker { conversation: self.conversation, stream: self.number, number, due };
        marker.write(self.options.bytes, text);
        text.push('"');
        let written = written.and_then(|()| {
            if self.options.client_ids {
                write!(text, r#","clientMessageId":"{due}-{}-{number}""#, self.number)
            } else {
                Ok(())
            }
        });
        let written = written.and_then(|()| write!(text, r#"}},"id":{}}}"#, id(number)));
        written.expect("a String takes every write");
        number
    }
}

/// A sender, shared by the socket that receives its replies and by the task that schedules its messages.
pub(crate) type SharedSender = Rc<RefCell<Sender>>;

/// A sender into one conversation.
pub(crate) struct Sender {
    pub(crate) stream: MessageStream,
    writer: Rc<SocketWriter>,
    /// Messages without a reply: their numbers, and the times when they were due.
    pending: VecDeque<(u64, u64)>,
    text: String,
}

impl Sender {
    pub(crate) fn new(stream: MessageStream, writer: &Rc<SocketWriter>) -> SharedSender {
        let (pending, text) = (VecDeque::new(), String::new());
        Rc::new(RefCell::new(Self { stream, writer: Rc::clone(writer), pending, text }))
    }

    /// Queues the next message, which is due at `due`, for the next write.
    pub(crate) fn send(&mut self, due: u64) {
        let number = self.stream.write(due, |number| number, &mut self.text);
        self.writer.queue_text(&self.text);
        self.pending.push_back((number, due));
    }

    /// Writes the queued messages.
    pub(crate) fn flush(&self) {
        self.writer.flush();
    }

    /// The number of messages without a reply.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    fn on_reply(&mut self, frame: &[u8], now: u64, run: &Run) {
        let reply = run.scanner.reply(frame);
        // A server that does not echo the id of an error has to answer in order.
        let position = match reply.id {
            Some(id) => self.pending.iter().position(|(number, _)| *number == id),
            None if reply.is_error => Some(0),
            None => None,
        };
        // Any other frame is a push without a marker, or the reply to no request.
        let Some((number, due)) = position.and_then(|position| self.pending.remove(position)) else { return };
        run.replies_out_of_order.update(|count| count + u64::from(position != Some(0)));
        if reply.is_error {
            Run::tally(&run.errors, &error_code(frame));
        } else {
            self.stream.sent.acknowledge(number);
            run.replies.record(run, due, now);
        }
        if self.stream.options.is_closed_loop && run.is_sending.get() {
            self.send(now);
        }
    }
}

/// A socket that checks what it receives, and passes replies to its sender where it has one.
#[derive(Clone)]
pub(crate) struct Receiver {
    run: Rc<Run>,
    checker: Rc<RefCell<Checker>>,
    sender: Option<SharedSender>,
}

impl Receiver {
    pub(crate) fn new(run: &Rc<Run>, sender: Option<SharedSender>) -> Self {
        Self { run: Rc::clone(run), checker: Rc::default(), sender }
    }

    /// The violations on this socket, which should have received all messages of the `expected` senders but its own.
    pub(crate) fn violations(&self, expected: &[SharedSender]) -> Violations {
        let checker = self.checker.borrow();
        let is_own = |sender: &&SharedSender| self.sender.as_ref().is_some_and(|own| Rc::ptr_eq(own, sender));
        let lost = expected.iter().filter(|sender| !is_own(sender)).map(|sender| {
            let stream = &sender.borrow().stream;
            checker.lost(stream.conversation, stream.number, &stream.sent)
        });
        Violations { lost: lost.sum(), ..checker.violations() }
    }
}

impl FrameHandler for Receiver {
    fn on_frame(&mut self, frame: &[u8], now: u64) {
        if let Some(push) = self.run.scanner.push(frame) {
            if self.checker.borrow_mut().record(&push) {
                self.run.deliveries.record(&self.run, push.marker.due, now);
            }
        } else if let Some(sender) = &self.sender {
            sender.borrow_mut().on_reply(frame, now, &self.run);
        }
    }
}
