//! Blocking: only the blocking user's other sockets are notified.

use serde_json::{Value, json};

use super::super::state::Model;
use super::{Call, Reply, To, item, nothing};

impl Model {
    pub(super) fn block(&mut self, call: &mut Call, user: usize) -> Reply {
        if user >= self.users.len() {
            return Err("not_found");
        }
        if user == call.me {
            return Err("self");
        }
        if self.blocks.insert((call.me, user)) {
            self.push_block(call, "blockUser", user);
        }
        Ok(nothing())
    }

    /// Never refused: a user who is not blocked can be unblocked.
    pub(super) fn unblock(&mut self, call: &mut Call, user: usize) -> Value {
        if self.blocks.remove(&(call.me, user)) {
            self.push_block(call, "unblockUser", user);
        }
        nothing()
    }

    fn push_block(&self, call: &mut Call, kind: &str, user: usize) {
        let user = &self.users[user];
        let body = item(json!({ "userId": user.id, "userName": user.name }));
        self.push(call, &[call.me], To::Subscribers, kind, &body);
    }
}
