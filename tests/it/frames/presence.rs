//! `setPresence`, `getOnlineInfo` and the presence pushes: who is notified, and how often.

use serde_json::{Value, json};

use crate::support::{Client, TestServer, User, steady};

const NOTHING: [&str; 0] = [];

/// Returns the `item` of the next presence push, without its time.
async fn next_presence(client: &mut Client) -> Value {
    steady(client.expect_push("onlineInfo").await["item"].take())
}

fn online(user: &User, active: bool) -> Value {
    json!({ "userId": user.id, "isOnline": true, "active": active, "lastSeenAt": "[time]" })
}

fn offline(user: &User) -> Value {
    json!({ "userId": user.id, "isOnline": false, "active": false, "lastSeenAt": "[time]" })
}

/// Connects a user who subscribed to presence.
async fn watcher(server: &TestServer, name: &str) -> (User, Client) {
    let (user, mut client) = server.connect_user(name).await;
    client.subscribe(&["presence"]).await;
    (user, client)
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_of_a_user_with_five_sockets_is_pushed_once() {
    let server = TestServer::start().await;
    let (ann, mut contact) = watcher(&server, "Ann").await;
    let (_, mut opener) = watcher(&server, "Cleo").await;
    let (_, mut stranger) = watcher(&server, "Dan").await;
    let mut anns_silent = server.connect(&ann).await;
    let bob = server.create_user("Bob").await;
    server.add_contact(&bob, &ann).await;
    opener.call_ok("openConversation", json!({ "receiverId": bob.id })).await;

    let mut sockets = Vec::new();
    for _ in 0..5 {
        sockets.push(server.connect(&bob).await);
    }
    for client in [&mut contact, &mut opener] {
        assert_eq!(next_presence(client).await, online(&bob, true));
    }
    for socket in sockets {
        socket.close().await;
    }
    for client in [&mut contact, &mut opener] {
        assert_eq!(next_presence(client).await, offline(&bob), "online was pushed once");
    }
    // Connecting again is the fence: it is the next push that they get.
    let again = server.connect(&bob).await;
    for client in [&mut contact, &mut opener] {
        assert_eq!(next_presence(client).await, online(&bob, true), "offline was pushed once");
    }
    assert_eq!((stranger.drain_push_types().await, anns_silent.drain_push_types().await), (vec![], vec![]));
    drop(again);
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_stays_online_for_a_user_who_reconnects_within_five_seconds() {
    let server = TestServer::start().await;
    let (ann, mut client) = watcher(&server, "Ann").await;
    let (bob, eve) = (server.create_user("Bob").await, server.create_user("Eve").await);
    server.add_contact(&bob, &ann).await;
    server.add_contact(&eve, &ann).await;
    let bobs = server.connect(&bob).await;
    assert_eq!(next_presence(&mut client).await, online(&bob, true));
    let eves = server.connect(&eve).await;
    assert_eq!(next_presence(&mut client).await, online(&eve, true));
    bobs.close().await;
    let _back = server.connect(&bob).await;
    // Eve disconnects after Bob and does not come back: a push about him would come before hers.
    eves.close().await;
    assert_eq!(next_presence(&mut client).await, offline(&eve));
}

#[tokio::test(flavor = "multi_thread")]
async fn set_presence_of_one_of_two_sockets_does_not_make_the_user_inactive() {
    let server = TestServer::start().await;
    let (ann, mut client) = watcher(&server, "Ann").await;
    let bob = server.create_user("Bob").await;
    server.add_contact(&bob, &ann).await;
    server.add_contact(&ann, &bob).await;
    let (mut phone, mut desk) = (server.connect(&bob).await, server.connect(&bob).await);
    assert_eq!(next_presence(&mut client).await, online(&bob, true));
    phone.call_ok("setPresence", json!({ "active": false })).await;
    phone.call_ok("setPresence", json!({ "active": false })).await;
    desk.call_ok("setPresence", json!({ "active": true })).await;
    desk.call_ok("setPresence", json!({ "active": false })).await;
    assert_eq!(next_presence(&mut client).await, online(&bob, false));
    let rows = client.call_ok("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"].take();
    assert_eq!(steady(rows), json!([online(&bob, false)]));
    desk.call_ok("setPresence", json!({ "active": true })).await;
    assert_eq!(next_presence(&mut client).await, online(&bob, true));
    // The socket in the foreground closes; the other one is still open.
    desk.close().await;
    assert_eq!(next_presence(&mut client).await, online(&bob, false));
    phone.close().await;
    assert_eq!(next_presence(&mut client).await, offline(&bob));
    for params in [json!({}), json!({ "active": "yes" }), json!({ "active": null }), json!({ "active": 1 })] {
        assert_eq!(client.call_refused("setPresence", params).await, "bad_params");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_is_pushed_only_to_users_who_may_see_it() {
    let server = TestServer::start().await;
    let bob = server.create_user("Bob").await;
    let (ann, mut fence) = watcher(&server, "Ann").await;
    let (blocked, mut blocked_client) = watcher(&server, "Cleo").await;
    let (_, mut closed) = watcher(&server, "Dan").await;
    let (admirer, mut admirer_client) = watcher(&server, "Eve").await;
    let (mate, mut mate_client) = watcher(&server, "Fay").await;
    server.add_contact(&bob, &ann).await;
    server.add_contact(&bob, &blocked).await;
    // Bob is on Eve's list of contacts, and she is not on his.
    server.add_contact(&admirer, &bob).await;
    fence.new_group(&[bob.id, mate.id]).await;
    for client in [&mut blocked_client, &mut closed] {
        client.call_ok("openConversation", json!({ "receiverId": bob.id })).await;
    }
    server.block(&bob, &blocked).await;
    closed.call_ok("closeConversation", json!({ "receiverId": bob.id })).await;
    mate_client.expect_push("addUserInGroup").await;
    mate_client.expect_push("addUserInGroup").await;

    let bobs = server.connect(&bob).await;
    assert_eq!(next_presence(&mut fence).await, online(&bob, true));
    bobs.close().await;
    assert_eq!(next_presence(&mut fence).await, offline(&bob));
    for client in [&mut blocked_client, &mut closed, &mut admirer_client, &mut mate_client] {
        assert_eq!(client.drain_push_types().await, NOTHING);
    }
    // They may ask, except for the blocked user, who gets the answer for a user who was never online.
    let ask = json!({ "userIds": [bob.id] });
    for client in [&mut fence, &mut closed, &mut admirer_client, &mut mate_client] {
        assert_eq!(steady(client.call_ok("getOnlineInfo", ask.clone()).await["data"].take()), json!([offline(&bob)]));
    }
    let never = json!({ "userId": bob.id, "isOnline": false, "active": false, "lastSeenAt": null });
    let _bobs = server.connect(&bob).await;
    assert_eq!(next_presence(&mut fence).await, online(&bob, true));
    assert_eq!(blocked_client.call_ok("getOnlineInfo", ask).await["data"], json!([never]));
}

#[tokio::test(flavor = "multi_thread")]
async fn get_online_info_is_limited_to_contacts_and_shared_conversations() {
    let server = TestServer::start().await;
    let (ann, mut client) = server.connect_user("Ann").await;
    let [in_dialog, in_group, contact, admirer, stranger] =
        ["Bob", "Cleo", "Dan", "Eve", "Fay"].map(|name| server.create_user(name));
    let (in_dialog, in_group, contact) = (in_dialog.await, in_group.await, contact.await);
    let (admirer, stranger) = (admirer.await, stranger.await);
    client.send_content(&json!({ "receiverId": in_dialog.id }), "Hi").await;
    client.new_group(&[in_group.id]).await;
    server.add_contact(&ann, &contact).await;
    server.add_contact(&admirer, &ann).await;
    let _here = server.connect(&contact).await;
    let ids = [stranger.id, contact.id, in_group.id, 99, admirer.id, in_dialog.id, ann.id, contact.id];
    let rows = client.call_ok("getOnlineInfo", json!({ "userIds": ids })).await["data"].take();
    let never = |user: &User| json!({ "userId": user.id, "isOnline": false, "active": false, "lastSeenAt": null });
    let expected = [online(&contact, true), never(&in_group), never(&admirer), never(&in_dialog), online(&ann, true)];
    assert_eq!(steady(rows), json!(expected), "in the order of the question, each once");
    assert_eq!(client.call_ok("getOnlineInfo", json!({ "userIds": [] })).await["data"], json!([]));
    for ids in [json!(null), json!(2), json!(["2"]), json!([0]), json!(vec![1; 1001])] {
        assert_eq!(client.call_refused("getOnlineInfo", json!({ "userIds": ids })).await, "bad_params");
    }
    assert_eq!(client.call_refused("getOnlineInfo", json!({})).await, "bad_params");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_online_info_keeps_the_last_seen_time_over_a_restart() {
    let server = TestServer::start().await;
    let ann = server.create_user("Ann").await;
    let (bob, _bob_client) = server.connect_user("Bob").await;
    server.add_contact(&ann, &bob).await;
    let before: String = sqlx::query_scalar("select to_json(now() at time zone 'utc') #>> '{}'")
        .fetch_one(&mut server.sql().await)
        .await
        .expect("a moment");
    let server = server.restarted().await;
    let mut client = server.connect(&ann).await;
    let mut row = client.call_ok("getOnlineInfo", json!({ "userIds": [bob.id] })).await["data"][0].take();
    assert_eq!((&row["isOnline"], &row["active"]), (&json!(false), &json!(false)));
    let seen = row["lastSeenAt"].take();
    assert!(seen.as_str() >= Some(&before[..23]), "{seen} is not after {before}");
}

#[tokio::test(flavor = "multi_thread")]
async fn presence_counts_sockets_of_all_nodes() {
    let server = TestServer::start().await;
    let second = server.second_node().await;
    let (ann, mut here) = watcher(&server, "Ann").await;
    let mut there = second.connect(&ann).await;
    there.subscribe(&["presence"]).await;
    let bob = server.create_user("Bob").await;
    server.add_contact(&bob, &ann).await;
    let one = second.connect(&bob).await;
    for client in [&mut here, &mut there] {
        assert_eq!(next_presence(client).await, online(&bob, true));
    }
    let other = server.connect(&bob).await;
    one.close().await;
    other.close().await;
    for client in [&mut here, &mut there] {
        assert_eq!(next_presence(client).await, offline(&bob), "once, with the last of them");
    }
}
