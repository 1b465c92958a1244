//! Somebody with chats and a group, who does what people do.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::{Value, json};

use super::caller::FIRST_ID;
use super::judge::Judge;
use super::line::{Line, Talk};
use super::run::{Meter, Run};
use super::talker::{Stream, code_of};

/// What people do, and how often among a hundred.
pub(crate) const ACTS: [(Act, u64); 7] = [
    (Act::Message, 35),
    (Act::GroupMessage, 10),
    (Act::List, 10),
    (Act::History, 10),
    (Act::GroupHistory, 5),
    (Act::Typing, 15),
    (Act::Read, 15),
];

/// One kind of thing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Message,
    GroupMessage,
    List,
    History,
    GroupHistory,
    Typing,
    Read,
}

impl Act {
    /// The frame that does it.
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Message => "privateMessage",
            Self::GroupMessage => "messageInGroup",
            Self::List => "listLastMessage",
            Self::History => "getlatestMessageDialog",
            Self::GroupHistory => "getlatestMessageGroup",
            Self::Typing => "typing",
            Self::Read => "readMessages",
        }
    }

    /// Whether every server of the protocol has it.
    pub(crate) fn is_everywhere(self) -> bool {
        !matches!(self, Self::Typing | Self::Read)
    }
}

/// What people in a load share.
pub(crate) struct Habits {
    /// How long each of [`ACTS`] took.
    pub(crate) took: [Meter; ACTS.len()],
    /// Pushes that were no messages: typing and receipts.
    pub(crate) other_pushes: Meter,
}

/// A request that no reply came for yet.
struct Asked {
    id: u64,
    /// When it should have been sent.
    intended: u64,
    /// Which of [`ACTS`]; none while preparing.
    act: Option<usize>,
    /// The stream and the number, of a message.
    message: Option<(usize, u64)>,
}

/// Somebody.
pub(crate) struct Person {
    run: Rc<Run>,
    habits: Rc<Habits>,
    line: Rc<Line>,
    pub(crate) ears: Judge,
    /// One for each friend, and the group's at the end.
    pub(crate) streams: Vec<Stream>,
    /// Whom the streams lead to.
    friends: Vec<i64>,
    /// Who writes to this one.
    writers: Vec<i64>,
    group: i64,
    waiting: VecDeque<Asked>,
    next_id: u64,
    text: String,
}

/// Shared by the socket and by who says when something is done.
pub(crate) type SharedPerson = Rc<RefCell<Person>>;

/// Whom somebody talks to.
pub(crate) struct Acquaintances {
    pub(crate) friends: Vec<i64>,
    pub(crate) writers: Vec<i64>,
    pub(crate) group: i64,
}

impl Person {
    pub(crate) fn new(
        run: &Rc<Run>,
        habits: &Rc<Habits>,
        line: &Rc<Line>,
        streams: Vec<Stream>,
        known: Acquaintances,
    ) -> Self {
        let Acquaintances { friends, writers, group } = known;
        Self {
            run: Rc::clone(run),
            habits: Rc::clone(habits),
            line: Rc::clone(line),
            ears: Judge::default(),
            streams,
            friends,
            writers,
            group,
            waiting: VecDeque::new(),
            next_id: FIRST_ID,
            text: String::new(),
        }
    }

    /// Says hello to everybody, so that every conversation is there.
    pub(crate) fn say_hello(&mut self) {
        for stream in 0..self.streams.len() {
            self.send(stream, None, self.run.now());
        }
        self.line.flush();
    }

    /// Asks for the pushes that the original clients do not know.
    pub(crate) fn look_out(&mut self) {
        self.ask("subscribe", &json!({ "events": ["receipts", "typing"] }), None, self.run.now());
        self.ask("openConversation", &json!({ "receiverId": self.writers[0] }), None, self.run.now());
        self.line.flush();
    }

    /// Does one of [`ACTS`], which should be done at `intended`; `choice` is any number.
    pub(crate) fn act(&mut self, act: usize, choice: usize, intended: u64) {
        let friend = choice % self.friends.len();
        let (kind, group) = (ACTS[act].0.kind(), self.group);
        let params = match ACTS[act].0 {
            Act::Message => return self.send(friend, Some(act), intended),
            Act::GroupMessage => return self.send(self.streams.len() - 1, Some(act), intended),
            Act::List => json!({}),
            Act::History => json!({ "receiverId": self.friends[friend] }),
            Act::GroupHistory => json!({ "groupId": group }),
            Act::Typing => json!({ "receiverId": self.friends[friend], "isTyping": choice.is_multiple_of(2) }),
            Act::Read => json!({ "receiverId": self.writers[choice % self.writers.len()] }),
        };
        self.ask(kind, &params, Some(act), intended);
    }

    /// Writes what was said.
    pub(crate) fn flush(&self) {
        self.line.flush();
    }

    /// How many requests wait for their reply.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting.len() as u64
    }

    fn send(&mut self, stream: usize, act: Option<usize>, intended: u64) {
        let id = self.take_id();
        let number = self.streams[stream].write(intended, |_| id, &mut self.text);
        self.line.say(&self.text);
        self.waiting.push_back(Asked { id, intended, act, message: Some((stream, number)) });
    }

    fn ask(&mut self, kind: &str, params: &Value, act: Option<usize>, intended: u64) {
        let id = self.take_id();
        self.line.say(&json!({ "type": kind, "params": params, "id": id }).to_string());
        self.waiting.push_back(Asked { id, intended, act, message: None });
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn hear_reply(&mut self, asked: &Asked, frame: &[u8], now: u64) {
        if self.run.scanner.is_error(frame) {
            return Run::count(&self.run.refused, &code_of(frame));
        }
        if let Some((stream, number)) = asked.message {
            self.streams[stream].sent.acknowledge(number);
        }
        if let Some(act) = asked.act {
            self.run.replies.record(&self.run, asked.intended, now);
            self.habits.took[act].record(&self.run, asked.intended, now);
        }
    }
}

/// What a socket of a person does with what it hears.
pub(crate) struct Ears(pub(crate) SharedPerson);

impl Talk for Ears {
    fn hear(&mut self, frame: &[u8], now: u64) {
        let mut person = self.0.borrow_mut();
        // Replies first: a page holds messages with markers, and is no push of them.
        let run = Rc::clone(&person.run);
        if let Some(asked) = person.waiting.pop_front_if(|asked| run.scanner.answers(frame, asked.id)) {
            person.hear_reply(&asked, frame, now);
        } else if let Some(push) = run.scanner.push(frame) {
            if person.ears.hear(&push) {
                run.deliveries.record(&run, push.marker.sent, now);
            }
        } else {
            person.habits.other_pushes.record(&run, now, now);
        }
    }
}
