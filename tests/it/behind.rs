//! `behind`: what a socket that reads too slowly is told in place of what did not fit, and that it
//! loses nothing for good.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Client, TestServer};

/// Enough for the kernel's buffers and the outbox, several times over.
const SENT: i64 = 500;

async fn server() -> TestServer {
    TestServer::with(|config| config.limits.outbox_bytes = 65_536).await
}

/// Lets little wait in the kernel for this client, so that a test need not fill megabytes.
fn narrow(client: &mut Client) {
    SockRef::from(&*client.raw()).set_recv_buffer_size(65_536).expect("a small buffer");
}

/// What a conversation is called in the item of a push to `user`.
fn name(item: &Value, user: i64) -> String {
    match (item["groupId"].as_i64(), item["senderId"].as_i64()) {
        (Some(group), _) => format!("group {group}"),
        (None, Some(sender)) if sender != user => format!("user {sender}"),
        _ => format!("user {}", item["receiverId"]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_word_stands_for_each_conversation_and_nothing_is_lost() {
    let server = server().await;
    let (stuck_user, mut stuck) = server.client("Stuck").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    let (cleo, mut cleo_client) = server.client("Cleo").await;
    let group = bob_client.new_group(&[stuck_user.id]).await;
    stuck.forget().await;
    narrow(&mut stuck);
    let to_stuck = json!({ "receiverId": stuck_user.id });
    let large = "x".repeat(16_384);
    for _ in 0..SENT / 2 {
        bob_client.say(&to_stuck, &large).await;
        bob_client.say(&json!({ "groupId": group }), &large).await;
    }
    cleo_client.say(&to_stuck, "Hi").await;
    let names = [format!("group {group}"), format!("user {}", bob.id), format!("user {}", cleo.id)];
    let all: BTreeMap<String, i64> = names.iter().cloned().zip([SENT / 2, SENT / 2, 1]).collect();
    // How far each conversation is known to have come, and what of it was pushed.
    let mut known: BTreeMap<String, i64> = BTreeMap::new();
    let mut pushed: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut words = 0;
    while known != all {
        let mut push = stuck.push().await;
        let item = push["params"]["item"].take();
        let seq = item["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {push}"));
        let conversation = name(&item, stuck_user.id);
        let before = known.insert(conversation.clone(), seq).unwrap_or(0);
        if push["type"] == "behind" {
            assert_eq!(item.as_object().map(serde_json::Map::len), Some(2), "a target and a seq: {item}");
            assert!(seq > before, "a word tells of something new: {conversation} {seq}");
            words += 1;
        } else {
            assert_eq!(seq, before + 1, "no gap without a word, and nothing overtakes it: {conversation}");
            pushed.entry(conversation).or_default().insert(seq);
        }
    }
    let kept: usize = pushed.values().map(BTreeSet::len).sum();
    assert!(words >= 1 && kept < usize::try_from(SENT).expect("a number"), "{words} words, {kept} pushed");
    assert_eq!(stuck.kinds_told().await, [""; 0]);

    // The rest is in the histories.
    for (kind, target, conversation) in [
        ("getlatestMessageDialog", json!({ "receiverId": bob.id }), &names[1]),
        ("getlatestMessageGroup", json!({ "groupId": group }), &names[0]),
    ] {
        let mut seen = pushed.remove(conversation).unwrap_or_default();
        let mut before = known[conversation] + 1;
        while before > 1 {
            let mut params = target.clone();
            (params["before"], params["limit"]) = (json!(before), json!(10));
            let rows = stuck.done(kind, params).await["data"].take();
            let seqs = rows.as_array().expect("rows").iter().map(|row| row["seq"].as_i64().expect("a seq"));
            let page: BTreeSet<i64> = seqs.collect();
            before = *page.first().expect("a row");
            seen.extend(page);
        }
        assert_eq!(seen, (1..=SENT / 2).collect());
    }
    // What comes from now on is pushed as ever.
    bob_client.say(&to_stuck, "back").await;
    assert_eq!(stuck.pushed("privateMessage").await["item"]["seq"], SENT / 2 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_collapse_to_the_latest_and_replies_still_come() {
    let server = server().await;
    let (stuck_user, mut stuck) = server.client("Stuck").await;
    let (bob, mut bob_client) = server.client("Bob").await;
    stuck.subscribe(&["receipts"]).await;
    narrow(&mut stuck);
    let (to_stuck, to_bob) = (json!({ "receiverId": stuck_user.id }), json!({ "receiverId": bob.id }));
    for _ in 0..SENT {
        bob_client.say(&to_stuck, &"x".repeat(16_384)).await;
    }
    // The client is stuck by now: of what follows only the last is worth having.
    for seq in 1..=SENT {
        bob_client.done("readMessages", json!({ "receiverId": stuck_user.id, "seq": seq })).await;
    }
    // It asks without having read, and is answered after what waits.
    let ask = stuck.send("getConversation", to_bob).await;
    let reply = stuck.reply_to(ask).await;
    assert_eq!(reply["params"]["item"]["lastSeq"], SENT);
    let (mut known, mut read) = (0, Vec::new());
    // The word may follow the reply: it waits until half of the budget is free again.
    while known < SENT || read.last() != Some(&SENT) {
        let push = stuck.push().await;
        let seq = push["params"]["item"]["seq"].as_i64().expect("a seq");
        if push["type"] == "readMessages" { read.push(seq) } else { known = seq }
    }
    assert!(read.is_sorted(), "{read:?}");
    assert!(read.len() < usize::try_from(SENT / 2).expect("a number"), "{} receipts of {SENT}", read.len());
    assert_eq!(stuck.kinds_told().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_socket_holds_up_no_other_of_its_user() {
    let server = server().await;
    let (user, mut stuck) = server.client("Stuck").await;
    let mut other = server.connect(&user).await;
    narrow(&mut stuck);
    let (_, mut bob_client) = server.client("Bob").await;
    for seq in 1..=SENT {
        bob_client.say(&json!({ "receiverId": user.id }), &"x".repeat(16_384)).await;
        assert_eq!(other.pushed("privateMessage").await["item"]["seq"], seq);
    }
    drop(stuck);
    bob_client.say(&json!({ "receiverId": user.id }), "Hi").await;
    assert_eq!(other.pushed("privateMessage").await["message"], "Hi");
}
