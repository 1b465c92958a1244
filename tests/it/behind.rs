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
    // The fence comes last of all; whatever it is, it stands for what came before it.
    let mut pushed: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut behind: BTreeMap<String, i64> = BTreeMap::new();
    while behind.len() < 3 {
        let mut push = stuck.push().await;
        let item = push["params"]["item"].take();
        let seq = item["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {push}"));
        let conversation = name(&item, stuck_user.id);
        if push["type"] == "behind" {
            assert_eq!(item.as_object().map(serde_json::Map::len), Some(2), "a target and a seq: {item}");
            assert_eq!(behind.insert(conversation, seq), None, "once");
        } else {
            assert!(!behind.contains_key(&conversation), "nothing overtakes the word: {conversation} {seq}");
            pushed.entry(conversation).or_default().push(seq);
        }
    }
    let names = [format!("group {group}"), format!("user {}", bob.id), format!("user {}", cleo.id)];
    let expected = [SENT / 2, SENT / 2, 1];
    assert_eq!(behind, names.iter().cloned().zip(expected).collect());
    for seqs in pushed.values() {
        assert_eq!(*seqs, (1..=seqs.last().copied().unwrap_or(0)).collect::<Vec<_>>(), "a beginning without a gap");
    }
    let bytes: usize = pushed.values().map(|seqs| seqs.len() * large.len()).sum();
    assert!(bytes < usize::try_from(SENT).expect("a number") * large.len() * 9 / 10, "the rest was not kept: {bytes}");
    assert_eq!(stuck.kinds_told().await, [""; 0]);

    // The rest is in the histories.
    for (kind, target, conversation) in [
        ("getlatestMessageDialog", json!({ "receiverId": bob.id }), &names[1]),
        ("getlatestMessageGroup", json!({ "groupId": group }), &names[0]),
    ] {
        let mut seen: BTreeSet<i64> = pushed.get(conversation).into_iter().flatten().copied().collect();
        let mut before = behind[conversation] + 1;
        while before > 1 {
            let mut params = target.clone();
            params["before"] = json!(before);
            params["limit"] = json!(50);
            let rows = stuck.done(kind, params).await["data"].take();
            let seqs = rows.as_array().expect("rows").iter().map(|row| row["seq"].as_i64().expect("a seq"));
            seen.extend(seqs);
            before = *seen.first().expect("a row").min(&(before - 50));
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
    stuck.subscribe(&["receipts", "messages"]).await;
    narrow(&mut stuck);
    let (to_stuck, to_bob) = (json!({ "receiverId": stuck_user.id }), json!({ "receiverId": bob.id }));
    let mut first = 0;
    for nth in 0..SENT {
        let message = bob_client.say(&to_stuck, &"x".repeat(16_384)).await;
        if nth == 0 {
            first = message;
        }
    }
    // The client is stuck by now: of what follows only the last is worth having.
    for seq in 1..=SENT {
        bob_client.done("readMessages", json!({ "receiverId": stuck_user.id, "seq": seq })).await;
    }
    for nth in 0..50 {
        bob_client.done("editMessage", json!({ "messageId": first, "content": format!("{nth}") })).await;
    }
    // It asks without having read, and is answered after what waits.
    let ask = stuck.send("getConversation", to_bob).await;
    let reply = stuck.reply_to(ask).await;
    assert_eq!(reply["params"]["item"]["lastSeq"], SENT);
    stuck.forget().await;
    let mut counts: BTreeMap<String, i64> = BTreeMap::new();
    let (mut behind, mut read) = (0, Vec::new());
    // The word follows once half of the budget is free again.
    while behind == 0 {
        let push = stuck.push().await;
        let kind = push["type"].as_str().expect("a type").to_owned();
        let seq = push["params"]["item"]["seq"].as_i64().expect("a seq");
        match kind.as_str() {
            "behind" => behind = seq,
            "readMessages" => read.push(seq),
            _ => {}
        }
        *counts.entry(kind).or_default() += 1;
    }
    for push in stuck.told().await {
        if push["type"] == "readMessages" {
            read.push(push["params"]["item"]["seq"].as_i64().expect("a seq"));
        }
    }
    assert_eq!(behind, SENT, "the word is of messages, and an edit is one of them: {counts:?}");
    assert_eq!(counts.get("editMessage"), None);
    assert_eq!(read.last(), Some(&SENT));
    assert!(read.is_sorted() && read.len() < 50, "{} receipts of {SENT}", read.len());
    let item = stuck.done("getlatestMessageDialog", json!({ "receiverId": bob.id, "before": 2 })).await;
    assert_eq!(item["data"][0]["content"], "49");
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
