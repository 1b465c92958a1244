//! What somebody does next.

use rand::RngExt as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use super::device::Device;
use super::world::Pair;
use crate::certify::record::{Place, UserId};

/// A message that is to be confirmed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// Where it goes.
    pub(crate) place: Place,
    /// The sender's own name for it.
    pub(crate) name: String,
    /// What it says; it begins with the name.
    pub(crate) content: String,
}

impl Draft {
    /// Type and parameters of its request.
    pub(crate) fn request(&self, sender: UserId) -> (&'static str, Value) {
        let mut params = self.place.target(sender);
        params["content"] = json!(self.content);
        params["clientMessageId"] = json!(self.name);
        (if matches!(self.place, Place::Group(_)) { "messageInGroup" } else { "privateMessage" }, params)
    }
}

/// What becomes of an answer.
#[derive(Clone, Debug)]
pub(crate) enum Purpose {
    /// A send: repeated until it is confirmed or refused.
    Send(Draft),
    /// Somebody comes or goes: `from` is how it was, `to` how it is to be.
    Membership { group: i64, user: UserId, from: Pair, to: Pair },
    /// A page of `sync`.
    Sync,
    /// Nothing.
    Other,
}

/// A request, and what it is for.
pub(crate) type Choice = (&'static str, Value, Purpose);

/// Chooses; None where there is nothing to be done of what was chosen.
pub(crate) fn choose(device: &mut Device) -> Option<Choice> {
    let me = device.account.id;
    match device.rng.random_range(0..100) {
        0..30 => Some(send(device, dialog)),
        30..62 => Some(send(device, group)),
        62..66 => {
            let (_, id, name) = device.mine.choose(&mut device.rng)?.clone();
            let content = format!("{name} edited {}", device.rng.random::<u32>());
            Some(("editMessage", json!({ "messageId": id, "content": content }), Purpose::Other))
        }
        66..68 => {
            let (_, id, _) = device.mine.choose(&mut device.rng)?;
            Some(("deleteMessage", json!({ "messageId": id }), Purpose::Other))
        }
        68..74 => {
            let (_, id, _) = device.heard.choose(&mut device.rng)?;
            let reaction = ["👍", "👎", "?"].choose(&mut device.rng).filter(|_| device.rng.random_ratio(4, 5));
            Some(("reactToMessage", json!({ "messageId": id, "reaction": reaction }), Purpose::Other))
        }
        74..82 => {
            let (place, _, seq) = *device.heard.choose(&mut device.rng)?;
            let kind = if device.rng.random() { "readMessages" } else { "deliveredMessages" };
            let mut params = place.target(me);
            params["seq"] = json!(seq);
            Some((kind, params, Purpose::Other))
        }
        82..86 => {
            let place = if device.rng.random() { dialog(device) } else { group(device) };
            let group = matches!(place, Place::Group(_));
            let kind = if group { "getlatestMessageGroup" } else { "getlatestMessageDialog" };
            Some((kind, place.target(me), Purpose::Other))
        }
        86..90 => device.sync(),
        90..91 => Some(("listConversations", json!({ "limit": 20 }), Purpose::Other)),
        91..92 => {
            let draft = device.confirmed.choose(&mut device.rng)?;
            Some(("searchMessages", json!({ "query": draft.name, "limit": 100 }), Purpose::Other))
        }
        92..95 => {
            // Once more what is confirmed long ago: it must be the same message.
            let draft = device.confirmed.choose(&mut device.rng)?.clone();
            let (kind, params) = draft.request(me);
            Some((kind, params, Purpose::Send(draft)))
        }
        _ => membership(device),
    }
}

fn send(device: &mut Device, place: fn(&mut Device) -> Place) -> Choice {
    let place = place(device);
    let draft = device.draft(place);
    let (kind, params) = draft.request(device.account.id);
    (kind, params, Purpose::Send(draft))
}

/// With one of the few whom one talks to most.
fn dialog(device: &mut Device) -> Place {
    let people = &device.world.people;
    let mine = people.iter().position(|person| person.id == device.account.id).unwrap_or_default();
    let far = device.rng.random_range(1..=3.min(people.len() - 1));
    let other = if device.rng.random() { mine + far } else { mine + people.len() - far };
    Place::dialog(device.account.id, people[other % people.len()].id)
}

/// Now and then one in which one is not.
fn group(device: &mut Device) -> Place {
    let me = device.account.id;
    let groups = &device.world.groups;
    let mine: Vec<_> = groups.iter().filter(|group| device.world.pair(group.id, me) == Pair::In).collect();
    let stray = device.rng.random_ratio(1, 12);
    let group = mine.choose(&mut device.rng).filter(|_| !stray).map(|group| group.id);
    Place::Group(group.unwrap_or_else(|| groups[device.rng.random_range(0..groups.len())].id))
}

fn membership(device: &mut Device) -> Option<Choice> {
    let me = device.account.id;
    let world = device.world.clone();
    let group = world.groups.choose(&mut device.rng)?;
    let (from, to) = if device.rng.random() { (Pair::In, Pair::Out) } else { (Pair::Out, Pair::In) };
    let (kind, user) = if group.admin == me {
        let user = *group.floating.choose(&mut device.rng)?;
        (if to == Pair::In { "addUserInGroup" } else { "removeUserFromGroup" }, user)
    } else if group.floating.contains(&me) && to == Pair::Out {
        ("leaveGroup", me)
    } else {
        return None;
    };
    if !world.take(group.id, user, from) {
        return None;
    }
    let params = json!({ "groupId": group.id, "userId": user });
    Some((kind, params, Purpose::Membership { group: group.id, user, from, to }))
}

/// What a message says: mostly little.
pub(crate) fn filler(rng: &mut StdRng) -> String {
    let words = if rng.random_ratio(1, 50) { 400 } else { rng.random_range(0..12) };
    "word ".repeat(words)
}
