//! Who sends marked messages, and who hears them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write as _;
use std::rc::Rc;

use serde_json::Value;

use super::judge::{Judge, Sent, Wrongs};
use super::line::{Line, Talk};
use super::run::Run;
use super::scan::Marker;

/// Where a message goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    /// To this user.
    User(i64),
    /// Into this group.
    Group(i64),
}

/// How messages are sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// Bytes of a content, at least.
    pub(crate) bytes: usize,
    /// Whether each has a `clientMessageId`.
    pub(crate) client_ids: bool,
    /// Whether a reply is followed by the next message.
    pub(crate) is_closed: bool,
}

/// The messages of one sender into one conversation.
pub(crate) struct Stream {
    /// The conversation, by the load's own count.
    pub(crate) place: u32,
    /// This stream, by the load's own count.
    pub(crate) number: u32,
    pub(crate) sent: Sent,
    target: Target,
    manner: Manner,
}

impl Stream {
    pub(crate) fn new(place: u32, number: u32, target: Target, manner: Manner) -> Self {
        Self { place, number, sent: Sent::default(), target, manner }
    }

    /// Writes the request that sends the next message, and says its number. `intended` is when it should
    /// be sent, or should have been; `id` makes the request's id of the number.
    pub(crate) fn write(&mut self, intended: u64, id: impl FnOnce(u64) -> u64, text: &mut String) -> u64 {
        let number = self.sent.issue();
        let (kind, to, target) = match self.target {
            Target::User(user) => ("privateMessage", "receiverId", user),
            Target::Group(group) => ("messageInGroup", "groupId", group),
        };
        text.clear();
        let written = write!(text, r#"{{"type":"{kind}","params":{{"{to}":{target},"content":""#);
        Marker { place: self.place, stream: self.number, number, sent: intended }.write(self.manner.bytes, text);
        text.push('"');
        let written = written.and_then(|()| {
            let wanted = self.manner.client_ids;
            if wanted { write!(text, r#","clientMessageId":"{intended}-{}-{number}""#, self.number) } else { Ok(()) }
        });
        let written = written.and_then(|()| write!(text, r#"}},"id":{}}}"#, id(number)));
        written.expect("a String takes every write");
        number
    }
}

/// A sender, shared by the socket that hears its replies and by who says when it sends.
pub(crate) type SharedMouth = Rc<RefCell<Mouth>>;

/// A sender with one conversation.
pub(crate) struct Mouth {
    pub(crate) stream: Stream,
    line: Rc<Line>,
    /// Numbers of the messages that no reply came for yet, each with its intended time.
    waiting: VecDeque<(u64, u64)>,
    text: String,
}

impl Mouth {
    pub(crate) fn new(stream: Stream, line: &Rc<Line>) -> SharedMouth {
        let (waiting, text) = (VecDeque::new(), String::new());
        Rc::new(RefCell::new(Self { stream, line: Rc::clone(line), waiting, text }))
    }

    /// Puts the next message into the next write. `intended` is when it should be sent, or should have been.
    pub(crate) fn say(&mut self, intended: u64) {
        let number = self.stream.write(intended, |number| number, &mut self.text);
        self.line.say(&self.text);
        self.waiting.push_back((number, intended));
    }

    /// Writes what was said.
    pub(crate) fn flush(&self) {
        self.line.flush();
    }

    /// How many messages wait for their reply.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    fn hear_reply(&mut self, frame: &[u8], now: u64, run: &Run) {
        let reply = run.scanner.reply(frame);
        // A server that does not echo the id of an error is held to the order.
        let place = match reply.id {
            Some(id) => self.waiting.iter().position(|(number, _)| *number == id),
            None if reply.is_error => Some(0),
            None => None,
        };
        // A push that is no message, or an answer to nothing.
        let Some((number, intended)) = place.and_then(|place| self.waiting.remove(place)) else { return };
        run.replies_out_of_order.update(|count| count + u64::from(place != Some(0)));
        if reply.is_error {
            Run::count(&run.refused, &code_of(frame));
        } else {
            self.stream.sent.acknowledge(number);
            run.replies.record(run, intended, now);
        }
        if self.stream.manner.is_closed && run.goes_on.get() {
            self.say(now);
        }
    }
}

/// The code of an error.
pub(crate) fn code_of(frame: &[u8]) -> String {
    let error: Value = serde_json::from_slice(frame).unwrap_or_default();
    let said = error.get("code").or_else(|| error.get("message")).and_then(Value::as_str);
    said.unwrap_or("an error without a code").to_owned()
}

/// A socket: what it hears is judged, and it may send.
#[derive(Clone)]
pub(crate) struct Talker {
    run: Rc<Run>,
    ears: Rc<RefCell<Judge>>,
    mouth: Option<SharedMouth>,
}

impl Talker {
    pub(crate) fn new(run: &Rc<Run>, mouth: Option<SharedMouth>) -> Self {
        Self { run: Rc::clone(run), ears: Rc::default(), mouth }
    }

    /// What is wrong with what it has heard, which should be all that `mouths` have said.
    pub(crate) fn wrongs(&self, mouths: &[SharedMouth]) -> Wrongs {
        let ears = self.ears.borrow();
        let is_own = |mouth: &&SharedMouth| self.mouth.as_ref().is_some_and(|own| Rc::ptr_eq(own, mouth));
        let lost = mouths.iter().filter(|mouth| !is_own(mouth)).map(|mouth| {
            let stream = &mouth.borrow().stream;
            ears.lost(stream.place, stream.number, &stream.sent)
        });
        Wrongs { lost: lost.sum(), ..ears.wrongs() }
    }
}

impl Talk for Talker {
    fn hear(&mut self, frame: &[u8], now: u64) {
        if let Some(push) = self.run.scanner.push(frame) {
            if self.ears.borrow_mut().hear(&push) {
                self.run.deliveries.record(&self.run, push.marker.sent, now);
            }
        } else if let Some(mouth) = &self.mouth {
            mouth.borrow_mut().hear_reply(frame, now, &self.run);
        }
    }
}
