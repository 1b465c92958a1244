//! Slow consumers: a socket that reads too slowly gets `behind` in place of the pushes that did not fit,
//! and can recover all of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use socket2::SockRef;

use crate::support::{Client, TestServer};
use crate::ws::note;

/// The messages to send: they fill the kernel's buffers and the outbox several times over.
const MESSAGES: i64 = 500;

async fn server() -> TestServer {
    TestServer::start_with(|config| config.limits.outbox_bytes = 65_536).await
}

/// Shrinks the receive buffer of a client, so that a test need not fill megabytes.
fn shrink_receive_buffer(client: &mut Client) {
    SockRef::from(&*client.tcp_stream()).set_recv_buffer_size(65_536).expect("a small buffer");
}

/// Names the conversation of a push to `user` by its item.
fn conversation_name(item: &Value, user: i64) -> String {
    match (item["groupId"].as_i64(), item["senderId"].as_i64()) {
        (Some(group), _) => format!("group {group}"),
        (None, Some(sender)) if sender != user => format!("user {sender}"),
        _ => format!("user {}", item["receiverId"]),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_consumer_gets_one_behind_for_each_conversation_and_loses_nothing() {
    let server = server().await;
    let (stuck_user, mut stuck) = server.connect_user("Stuck").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    let (cleo, mut cleo_client) = server.connect_user("Cleo").await;
    let group = bob_client.new_group(&[stuck_user.id]).await;
    stuck.discard_pushes().await;
    shrink_receive_buffer(&mut stuck);
    let to_stuck = json!({ "receiverId": stuck_user.id });
    let large = "x".repeat(16_384);
    for _ in 0..MESSAGES / 2 {
        bob_client.send_content(&to_stuck, &large).await;
        bob_client.send_content(&json!({ "groupId": group }), &large).await;
    }
    cleo_client.send_content(&to_stuck, "Hi").await;
    let names = [format!("group {group}"), format!("user {}", bob.id), format!("user {}", cleo.id)];
    let all: BTreeMap<String, i64> = names.iter().cloned().zip([MESSAGES / 2, MESSAGES / 2, 1]).collect();
    // How far the client knows each conversation to have come, and what of it was pushed.
    let mut known: BTreeMap<String, i64> = BTreeMap::new();
    let mut pushed: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut words = 0;
    while known != all {
        let mut push = stuck.wait_for_push().await;
        let item = push["params"]["item"].take();
        let seq = item["seq"].as_i64().unwrap_or_else(|| panic!("a seq: {push}"));
        let conversation = conversation_name(&item, stuck_user.id);
        let before = known.insert(conversation.clone(), seq).unwrap_or(0);
        if push["type"] == "behind" {
            assert_eq!(item.as_object().map(serde_json::Map::len), Some(2), "a target and a seq: {item}");
            assert!(seq > before, "each push has a new seq: {conversation} {seq}");
            words += 1;
        } else {
            assert_eq!(seq, before + 1, "no gap without a word, and nothing overtakes it: {conversation}");
            pushed.entry(conversation).or_default().insert(seq);
        }
    }
    let kept: usize = pushed.values().map(BTreeSet::len).sum();
    assert!(words >= 1 && kept < usize::try_from(MESSAGES).expect("a number"), "{words} words, {kept} pushed");
    assert_eq!(stuck.drain_push_types().await, [""; 0]);

    // The rest is in the history.
    for (kind, target, conversation) in [
        ("getlatestMessageDialog", json!({ "receiverId": bob.id }), &names[1]),
        ("getlatestMessageGroup", json!({ "groupId": group }), &names[0]),
    ] {
        let mut seen = pushed.remove(conversation).unwrap_or_default();
        let mut before = known[conversation] + 1;
        while before > 1 {
            let mut params = target.clone();
            (params["before"], params["limit"]) = (json!(before), json!(10));
            let rows = stuck.call_ok(kind, params).await["data"].take();
            let seqs = rows.as_array().expect("rows").iter().map(|row| row["seq"].as_i64().expect("a seq"));
            let page: BTreeSet<i64> = seqs.collect();
            before = *page.first().expect("a row");
            seen.extend(page);
        }
        assert_eq!(seen, (1..=MESSAGES / 2).collect());
    }
    // Later messages are pushed as usual.
    bob_client.send_content(&to_stuck, "back").await;
    assert_eq!(stuck.expect_push("privateMessage").await["item"]["seq"], MESSAGES / 2 + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_consumer_gets_only_the_latest_receipt_and_every_reply() {
    let server = server().await;
    let (stuck_user, mut stuck) = server.connect_user("Stuck").await;
    let (bob, mut bob_client) = server.connect_user("Bob").await;
    stuck.subscribe(&["receipts"]).await;
    shrink_receive_buffer(&mut stuck);
    let (to_stuck, to_bob) = (json!({ "receiverId": stuck_user.id }), json!({ "receiverId": bob.id }));
    for _ in 0..MESSAGES {
        bob_client.send_content(&to_stuck, &"x".repeat(16_384)).await;
    }
    // The client is stuck by now: of the following receipts only the last one matters.
    for seq in 1..=MESSAGES {
        bob_client.call_ok("readMessages", json!({ "receiverId": stuck_user.id, "seq": seq })).await;
    }
    // The client sends a request without having read, and gets the reply after the waiting frames.
    let ask = stuck.send("getConversation", to_bob).await;
    let reply = stuck.wait_for_reply_to(ask).await;
    assert_eq!(reply["params"]["item"]["lastSeq"], MESSAGES);
    let (mut known, mut read) = (0, Vec::new());
    // `behind` may follow the reply: it waits until half of the budget is free again.
    while known < MESSAGES || read.last() != Some(&MESSAGES) {
        let push = stuck.wait_for_push().await;
        let seq = push["params"]["item"]["seq"].as_i64().expect("a seq");
        if push["type"] == "readMessages" { read.push(seq) } else { known = seq }
    }
    assert!(read.is_sorted(), "{read:?}");
    assert!(read.len() < usize::try_from(MESSAGES / 2).expect("a number"), "{} receipts of {MESSAGES}", read.len());
    assert_eq!(stuck.drain_push_types().await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_consumer_does_not_delay_other_sockets_of_its_user() {
    let server = server().await;
    let (user, mut stuck) = server.connect_user("Stuck").await;
    let mut other = server.connect(&user).await;
    shrink_receive_buffer(&mut stuck);
    let (_, mut bob_client) = server.connect_user("Bob").await;
    for seq in 1..=MESSAGES {
        bob_client.send_content(&json!({ "receiverId": user.id }), &"x".repeat(16_384)).await;
        assert_eq!(other.expect_push("privateMessage").await["item"]["seq"], seq);
    }
    drop(stuck);
    bob_client.send_content(&json!({ "receiverId": user.id }), "Hi").await;
    assert_eq!(other.expect_push("privateMessage").await["message"], "Hi");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_consumer_delays_nobody_and_learns_what_it_missed() {
    const MESSAGES: i64 = 600;
    let server = TestServer::start_with(|config| config.limits.outbox_bytes = 65_536).await;
    let (_, mut sender) = server.connect_user("Patrick0").await;
    let (stuck_user, mut stuck) = server.connect_user("Patrick1").await;
    let (neighbour_user, mut neighbour) = server.connect_user("Patrick2").await;
    shrink_receive_buffer(&mut stuck);
    let members = [stuck_user.id, neighbour_user.id];
    let reply = sender.call("newGroup", json!({ "groupName": "G", "userIds": members })).await;
    let group = &reply["params"]["item"]["groupId"];
    let message = json!({ "groupId": group, "content": "x".repeat(16_384) });
    neighbour.wait_for_push().await;
    neighbour.wait_for_push().await;
    for seq in 1..=MESSAGES {
        assert_eq!(sender.call("messageInGroup", message.clone()).await["params"]["item"]["seq"], seq);
        assert_eq!(neighbour.wait_for_push().await["params"]["item"]["seq"], seq);
    }
    // The kernel's buffers and the outbox hold far less than that.
    stuck.wait_for_push().await;
    stuck.wait_for_push().await;
    // The client may fall behind, catch up a little, and fall behind again: the known `seq` still reaches
    // the end.
    let (mut known, mut pushed) = (0, 0);
    while known < MESSAGES {
        let push = stuck.wait_for_push().await;
        let seq = push["params"]["item"]["seq"].as_i64().expect("a seq");
        if push["type"] == "behind" {
            assert_eq!(push["params"]["item"], json!({ "groupId": group, "seq": seq }));
            assert!(seq > known, "{seq} was known of");
        } else {
            assert_eq!(seq, known + 1);
            pushed += 1;
        }
        known = seq;
    }
    assert!(pushed < MESSAGES);
    // The client fetches what it missed, and then gets new pushes like every other socket.
    let mut before = MESSAGES + 1;
    while before > 1 {
        let page = stuck.call("getlatestMessageGroup", json!({ "groupId": group, "before": before })).await;
        let rows = page["params"]["data"].as_array().expect("rows");
        assert_eq!(rows[0]["seq"], before - 1);
        before = rows.last().expect("a row")["seq"].as_i64().expect("a seq");
    }
    assert_eq!(stuck.take_buffered_pushes(), [] as [Value; 0]);
    sender.call("messageInGroup", message).await;
    assert_eq!(stuck.wait_for_push().await["params"]["item"]["seq"], MESSAGES + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn backpressure_stops_reading_a_client_that_does_not_read_its_replies() {
    let server = TestServer::start_with(|config| config.limits.outbox_bytes = 65_536).await;
    let (user, mut client) = server.connect_user("Patrick0").await;
    for _ in 0..5 {
        client.call("privateMessage", note(user.id, &"x".repeat(16_384))).await;
    }
    shrink_receive_buffer(&mut client);
    for _ in 0..100 {
        client.send("getlatestMessageDialog", json!({ "receiverId": user.id })).await;
    }
    for id in 6..=105 {
        assert_eq!(client.wait_for_reply_to(id).await["params"]["data"].as_array().map(Vec::len), Some(5));
    }
}
