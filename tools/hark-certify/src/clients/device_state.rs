//! What a device knows, and the requests that it can make from that.

use std::sync::Arc;

use hark_harness::accounts::Account;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::clients::shared::{Membership, SharedState};
use crate::history::event::{Conversation, UserId};

/// The number of messages of each kind that a device remembers.
const MAX_REMEMBERED: usize = 40;

/// A message that is to be confirmed.
#[derive(Clone, Debug)]
pub(super) struct OutgoingMessage {
    /// The conversation it goes to.
    pub(super) conversation: Conversation,
    /// The `clientMessageId`: a word that is unique, and no prefix of another one.
    pub(super) name: String,
    /// The content, which begins with the name.
    pub(super) content: String,
}

impl OutgoingMessage {
    /// The type and parameters of the request that sends it.
    pub(super) fn request(&self, sender: UserId) -> (&'static str, Value) {
        let mut params = self.conversation.target(sender);
        params["content"] = json!(self.content);
        params["clientMessageId"] = json!(self.name);
        (if matches!(self.conversation, Conversation::Group(_)) { "messageInGroup" } else { "privateMessage" }, params)
    }
}

/// The purpose of a request, which decides what its reply means.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// A send, which is repeated until it is confirmed or refused.
    Send(OutgoingMessage),
    /// A change of a membership from `from` to `to`.
    ChangeMembership { group: i64, user: UserId, from: Membership, to: Membership },
    /// A page of `sync`.
    Sync,
    /// No purpose beyond the request itself.
    Other,
}

/// A request: its type, its parameters and its purpose.
pub(super) type Action = (&'static str, Value, Purpose);

/// The state of a device.
#[derive(Debug)]
pub(super) struct DeviceState {
    pub(super) account: Account,
    pub(super) shared: Arc<SharedState>,
    pub(super) rng: StdRng,
    /// Confirmed messages of this device: their conversation, id and name.
    pub(super) own: Vec<(Conversation, i64, String)>,
    /// Messages of other users: their conversation, id and `seq`.
    pub(super) received: Vec<(Conversation, i64, i64)>,
    /// Messages that were confirmed lately.
    pub(super) confirmed: Vec<OutgoingMessage>,
    /// The number of the device, unique in the round.
    pub(super) number: usize,
    /// The cursor of the last `sync`.
    pub(super) cursor: String,
    /// Whether a page of `sync` has been requested.
    pub(super) is_syncing: bool,
    next_message: u64,
}

impl DeviceState {
    pub(super) fn new(account: Account, shared: &Arc<SharedState>, number: usize, rng: StdRng) -> Self {
        let cursor = shared.cursors(account.id).first().cloned().expect("the setup gives each user a first cursor");
        Self {
            account,
            shared: Arc::clone(shared),
            rng,
            own: Vec::new(),
            received: Vec::new(),
            confirmed: Vec::new(),
            number,
            cursor,
            is_syncing: false,
            next_message: 0,
        }
    }

    /// The request for the next page of `sync`; `None` while another one is pending.
    pub(super) fn sync(&mut self) -> Option<Action> {
        if std::mem::replace(&mut self.is_syncing, true) {
            return None;
        }
        Some(("sync", json!({ "cursor": self.cursor, "limit": 100 }), Purpose::Sync))
    }

    /// A new message to a conversation.
    pub(super) fn new_message(&mut self, conversation: Conversation) -> OutgoingMessage {
        self.next_message += 1;
        let name = format!("{}x{}x{}z", self.account.id, self.number, self.next_message);
        let content = format!("{name} {}", filler(&mut self.rng));
        OutgoingMessage { conversation, name, content }
    }
}

/// Adds an item to a list of the newest ones.
pub(super) fn remember<T>(list: &mut Vec<T>, item: T) {
    if list.len() == MAX_REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}

/// The rest of a content: usually a few words, rarely many.
fn filler(rng: &mut StdRng) -> String {
    let words = if rng.random_ratio(1, 50) { 400 } else { rng.random_range(0..12) };
    "word ".repeat(words)
}
