//! Whom somebody takes nothing from. Nobody is told but their own other sockets.

use serde_json::{Value, json};

use super::super::state::Model;
use super::{Call, Reply, To, item, nothing};

impl Model {
    pub(super) fn block(&mut self, call: &mut Call, user: usize) -> Reply {
        if user >= self.people.len() {
            return Err("not_found");
        }
        if user == call.me {
            return Err("self");
        }
        if self.blocks.insert((call.me, user)) {
            self.tell_of_block(call, "blockUser", user);
        }
        Ok(nothing())
    }

    /// Never refused: who is not blocked need not be unblocked.
    pub(super) fn unblock(&mut self, call: &mut Call, user: usize) -> Value {
        if self.blocks.remove(&(call.me, user)) {
            self.tell_of_block(call, "unblockUser", user);
        }
        nothing()
    }

    fn tell_of_block(&self, call: &mut Call, kind: &str, user: usize) {
        let person = &self.people[user];
        let body = item(json!({ "userId": person.id, "userName": person.name }));
        self.push(call, &[call.me], To::WhoAsked, kind, &body);
    }
}
