//! A virtual user with chats and a group, who sends, reads, types and looks at lists.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use hark_harness::envelope::{error_code, request};
use serde_json::{Value, json};

use crate::load::sender::MessageStream;
use crate::measure::checker::Checker;
use crate::measure::run::{Meter, Run};
use crate::sockets::connection::{FrameHandler, SocketWriter};
use crate::sockets::rpc_client::FIRST_REQUEST_ID;

/// The mix of actions: each with its share in percent.
pub(crate) const ACTIONS: [(Action, u64); 7] = [
    (Action::Message, 35),
    (Action::GroupMessage, 10),
    (Action::List, 10),
    (Action::History, 10),
    (Action::GroupHistory, 5),
    (Action::Typing, 15),
    (Action::Read, 15),
];

/// An action of a virtual user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Message,
    GroupMessage,
    List,
    History,
    GroupHistory,
    Typing,
    Read,
}

impl Action {
    /// The type of the action's frame.
    pub(crate) fn frame_type(self) -> &'static str {
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

    /// Whether every server of the protocol has the frame.
    pub(crate) fn is_universal(self) -> bool {
        !matches!(self, Self::Typing | Self::Read)
    }
}

/// The meters that all virtual users share.
pub(crate) struct VirtualUserStats {
    /// The latencies of each of [`ACTIONS`].
    pub(crate) latencies: [Meter; ACTIONS.len()],
    /// Pushes without a message: typing and receipts.
    pub(crate) other_pushes: Meter,
}

/// A request without a reply.
struct PendingRequest {
    id: u64,
    /// The time when it was due.
    due: u64,
    /// The index in [`ACTIONS`]; `None` for a request of the preparation, which is not measured.
    action: Option<usize>,
    /// The stream and number of the message that it sends.
    message: Option<(usize, u64)>,
}

/// A virtual user on one socket.
pub(crate) struct VirtualUser {
    run: Rc<Run>,
    stats: Rc<VirtualUserStats>,
    writer: Rc<SocketWriter>,
    pub(crate) checker: Checker,
    /// One stream for each friend, in their order, and that of the group at the end.
    pub(crate) streams: Vec<MessageStream>,
    contacts: Contacts,
    pending: VecDeque<PendingRequest>,
    next_id: u64,
    text: String,
}

/// A virtual user, shared by its socket and by the task that schedules its actions.
pub(crate) type SharedVirtualUser = Rc<RefCell<VirtualUser>>;

/// The conversations of a virtual user.
pub(crate) struct Contacts {
    /// The users to whom it sends.
    pub(crate) friends: Vec<i64>,
    /// The users who send to it.
    pub(crate) writers: Vec<i64>,
    /// Its group.
    pub(crate) group: i64,
}

impl VirtualUser {
    pub(crate) fn new(
        run: &Rc<Run>,
        stats: &Rc<VirtualUserStats>,
        writer: &Rc<SocketWriter>,
        streams: Vec<MessageStream>,
        contacts: Contacts,
    ) -> Self {
        Self {
            run: Rc::clone(run),
            stats: Rc::clone(stats),
            writer: Rc::clone(writer),
            checker: Checker::default(),
            streams,
            contacts,
            pending: VecDeque::new(),
            next_id: FIRST_REQUEST_ID,
            text: String::new(),
        }
    }

    /// Sends a first message into every conversation, so that all of them exist.
    pub(crate) fn send_first_messages(&mut self) {
        for stream in 0..self.streams.len() {
            self.send(stream, None, self.run.now());
        }
        self.writer.flush();
    }

    /// Subscribes to receipts and typing, which the original clients do not know.
    pub(crate) fn subscribe(&mut self) {
        self.request("subscribe", &json!({ "events": ["receipts", "typing"] }), None, self.run.now());
        let receiver = self.contacts.writers[0];
        self.request("openConversation", &json!({ "receiverId": receiver }), None, self.run.now());
        self.writer.flush();
    }

    /// Performs one of [`ACTIONS`], which is due at `due`; `choice` selects the conversation and may be any number.
    pub(crate) fn perform(&mut self, action: usize, choice: usize, due: u64) {
        let Contacts { friends, writers, group } = &self.contacts;
        let friend = choice % friends.len();
        let params = match ACTIONS[action].0 {
            Action::Message => return self.send(friend, Some(action), due),
            Action::GroupMessage => return self.send(self.streams.len() - 1, Some(action), due),
            Action::List => json!({}),
            Action::History => json!({ "receiverId": friends[friend] }),
            Action::GroupHistory => json!({ "groupId": group }),
            Action::Typing => json!({ "receiverId": friends[friend], "isTyping": choice.is_multiple_of(2) }),
            Action::Read => json!({ "receiverId": writers[choice % writers.len()] }),
        };
        self.request(ACTIONS[action].0.frame_type(), &params, Some(action), due);
    }

    /// Writes the queued requests.
    pub(crate) fn flush(&self) {
        self.writer.flush();
    }

    /// The number of requests without a reply.
    pub(crate) fn pending(&self) -> u64 {
        self.pending.len() as u64
    }

    fn send(&mut self, stream: usize, action: Option<usize>, due: u64) {
        let id = self.take_id();
        let number = self.streams[stream].write(due, |_| id, &mut self.text);
        self.writer.queue_text(&self.text);
        self.pending.push_back(PendingRequest { id, due, action, message: Some((stream, number)) });
    }

    fn request(&mut self, frame_type: &str, params: &Value, action: Option<usize>, due: u64) {
        let id = self.take_id();
        self.writer.queue_text(&request(frame_type, params, id));
        self.pending.push_back(PendingRequest { id, due, action, message: None });
    }

    fn take_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn on_reply(&mut self, pending: &PendingRequest, frame: &[u8], now: u64) {
        if self.run.scanner.is_error(frame) {
            return Run::tally(&self.run.errors, &error_code(frame));
        }
        if let Some((stream, number)) = pending.message {
            self.streams[stream].sent.acknowledge(number);
        }
        if let Some(action) = pending.action {
            self.run.replies.record(&self.run, pending.due, now);
            self.stats.latencies[action].record(&self.run, pending.due, now);
        }
    }
}

/// Handles the frames of a virtual user's socket.
pub(crate) struct VirtualUserSocket(pub(crate) SharedVirtualUser);

impl FrameHandler for VirtualUserSocket {
    fn on_frame(&mut self, frame: &[u8], now: u64) {
        let mut user = self.0.borrow_mut();
        let run = Rc::clone(&user.run);
        // Replies are tried first: a page contains messages with markers, and is no push of them.
        if let Some(pending) = user.pending.pop_front_if(|pending| run.scanner.answers(frame, pending.id)) {
            user.on_reply(&pending, frame, now);
        } else if let Some(push) = run.scanner.push(frame) {
            if user.checker.record(&push) {
                run.deliveries.record(&run, push.marker.due, now);
            }
        } else {
            user.stats.other_pushes.record(&run, now, now);
        }
    }
}
