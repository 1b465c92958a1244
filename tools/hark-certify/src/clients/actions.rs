//! The random actions of a device.

use rand::RngExt as _;
use rand::seq::IndexedRandom as _;
use serde_json::json;

use crate::clients::device_state::{Action, DeviceState, Purpose};
use crate::clients::shared::Membership;
use crate::history::event::Conversation;

/// A random action; `None` if the chosen kind is not possible now.
pub(super) fn next_action(device: &mut DeviceState) -> Option<Action> {
    let me = device.account.id;
    match device.rng.random_range(0..100) {
        0..30 => Some(send(device, dialog)),
        30..62 => Some(send(device, group)),
        62..66 => {
            let (_, id, name) = device.own.choose(&mut device.rng)?.clone();
            let content = format!("{name} edited {}", device.rng.random::<u32>());
            Some(("editMessage", json!({ "messageId": id, "content": content }), Purpose::Other))
        }
        66..68 => {
            let (_, id, _) = device.own.choose(&mut device.rng)?;
            Some(("deleteMessage", json!({ "messageId": id }), Purpose::Other))
        }
        68..74 => {
            let (_, id, _) = device.received.choose(&mut device.rng)?;
            let reaction = ["👍", "👎", "?"].choose(&mut device.rng).filter(|_| device.rng.random_ratio(4, 5));
            Some(("reactToMessage", json!({ "messageId": id, "reaction": reaction }), Purpose::Other))
        }
        74..82 => {
            let (conversation, _, seq) = *device.received.choose(&mut device.rng)?;
            let frame_type = if device.rng.random() { "readMessages" } else { "deliveredMessages" };
            let mut params = conversation.target(me);
            params["seq"] = json!(seq);
            Some((frame_type, params, Purpose::Other))
        }
        82..86 => {
            let conversation = if device.rng.random() { dialog(device) } else { group(device) };
            let group = matches!(conversation, Conversation::Group(_));
            let frame_type = if group { "getlatestMessageGroup" } else { "getlatestMessageDialog" };
            Some((frame_type, conversation.target(me), Purpose::Other))
        }
        86..90 => device.sync(),
        90..91 => Some(("listConversations", json!({ "limit": 20 }), Purpose::Other)),
        91..92 => {
            let message = device.confirmed.choose(&mut device.rng)?;
            Some(("searchMessages", json!({ "query": message.name, "limit": 100 }), Purpose::Other))
        }
        92..95 => {
            // A repeat of a confirmed send, which the server has to recognize (idempotency).
            let message = device.confirmed.choose(&mut device.rng)?.clone();
            let (frame_type, params) = message.request(me);
            Some((frame_type, params, Purpose::Send(message)))
        }
        _ => membership(device),
    }
}

fn send(device: &mut DeviceState, conversation: fn(&mut DeviceState) -> Conversation) -> Action {
    let conversation = conversation(device);
    let message = device.new_message(conversation);
    let (frame_type, params) = message.request(device.account.id);
    (frame_type, params, Purpose::Send(message))
}

/// The dialog with one of the users with neighbouring numbers.
fn dialog(device: &mut DeviceState) -> Conversation {
    let accounts = &device.shared.accounts;
    let own = accounts.iter().position(|account| account.id == device.account.id).unwrap_or_default();
    let far = device.rng.random_range(1..=3.min(accounts.len() - 1));
    let other = if device.rng.random() { own + far } else { own + accounts.len() - far };
    Conversation::dialog(device.account.id, accounts[other % accounts.len()].id)
}

/// A group of the user, and rarely one in which the user is no member.
fn group(device: &mut DeviceState) -> Conversation {
    let me = device.account.id;
    let groups = &device.shared.groups;
    let mine: Vec<_> = groups.iter().filter(|group| device.shared.membership(group.id, me) == Membership::In).collect();
    let stray = device.rng.random_ratio(1, 12);
    let group = mine.choose(&mut device.rng).filter(|_| !stray).map(|group| group.id);
    Conversation::Group(group.unwrap_or_else(|| groups[device.rng.random_range(0..groups.len())].id))
}

fn membership(device: &mut DeviceState) -> Option<Action> {
    let me = device.account.id;
    let shared = device.shared.clone();
    let group = shared.groups.choose(&mut device.rng)?;
    let (from, to) =
        if device.rng.random() { (Membership::In, Membership::Out) } else { (Membership::Out, Membership::In) };
    let (frame_type, user) = if group.admin == me {
        let user = *group.floating.choose(&mut device.rng)?;
        (if to == Membership::In { "addUserInGroup" } else { "removeUserFromGroup" }, user)
    } else if group.floating.contains(&me) && to == Membership::Out {
        ("leaveGroup", me)
    } else {
        return None;
    };
    if !shared.begin_change(group.id, user, from) {
        return None;
    }
    let params = json!({ "groupId": group.id, "userId": user });
    Some((frame_type, params, Purpose::ChangeMembership { group: group.id, user, from, to }))
}
